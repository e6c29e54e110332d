// Command picture writes docs/authserver.png: the operators' page of
// examples/authserver, as Chromium shows it after a while of requests, some of them
// with wrong credentials.
//
//	go run -C internal/harness/e2e ./picture
//
// It needs Chromium, and takes a minute and a half.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/svctoken/svctoken/internal/harness/e2e"
)

var (
	root   = flag.String("root", "../../..", "the repository's root")
	out    = flag.String("out", "../../../docs/authserver.png", "the file to write")
	during = flag.Duration("for", 90*time.Second, "how long to send requests before; at most 10 minutes")
)

func main() {
	flag.Parse()
	if *during <= 0 || *during > 10*time.Minute {
		fmt.Fprintln(os.Stderr, "picture: -for is out of its bounds")
		os.Exit(2)
	}
	if err := run(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "picture: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		return err
	}
	builder := e2e.Builder{Root: *root}
	defer builder.Close()
	server, err := builder.Start("-service-tokens", filepath.Join(*root, "filesource/testdata/service_tokens"))
	if err != nil {
		return err
	}
	defer server.Stop()
	if err := use(server, time.Now().Add(*during)); err != nil {
		return err
	}
	photo, err := photograph(ctx, chromium, server)
	if err != nil {
		return err
	}
	small, err := shrink(photo)
	if err != nil {
		return err
	}
	return os.WriteFile(*out, small, 0o666)
}

// shrink writes a picture with its 256 most frequent colours, and the others as the
// nearest of these: the page has few colours, and shades of them at the edges of letters.
func shrink(photo []byte) ([]byte, error) {
	full, err := png.Decode(bytes.NewReader(photo))
	if err != nil {
		return nil, err
	}
	count := make(map[color.RGBA]int)
	bounds := full.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int { return cmp.Compare(count[b], count[a]) })
	var palette color.Palette
	for _, colour := range colours[:min(len(colours), 256)] {
		palette = append(palette, colour)
	}
	few := image.NewPaletted(bounds, palette)
	draw.Draw(few, bounds, full, bounds.Min, draw.Src)
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, few)
	return out.Bytes(), err
}

// The tokens of the file.
var fileBearers = []string{
	"AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA",
	"AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMjo3ODliZTZlMGVlZjNkMDIwYjdlYjNj",
}

// use is an ordinary day in short: clients come in waves, tokens are evicted, and now and
// then somebody tries a wrong token.
func use(s *e2e.Authserver, until time.Time) error {
	bearers := fileBearers
	for _, name := range []string{"shipper", "indexer"} {
		bearer, err := s.CreateToken("elastic", "fleet-server", name)
		if err != nil {
			return err
		}
		bearers = append(bearers, bearer)
	}
	random := rand.New(rand.NewPCG(1, 2))
	const pause = 20 * time.Millisecond
	for i := 0; time.Now().Before(until); i++ {
		bearer := bearers[random.IntN(len(bearers))]
		switch {
		case i%500 > 400 && random.IntN(3) > 0: // a wave of wrong tokens
			bearer = base64.RawStdEncoding.EncodeToString(fmt.Appendf(nil, "\x00\x01\x00\x01elastic/kibana/old-%d:0123456789", random.IntN(9)))
		case i%700 == 699:
			if err := s.Do("POST", "/_security/service/elastic/fleet-server/credential/token/token1,shipper/_clear_cache", nil); err != nil {
				return err
			}
		}
		if err := authenticate(s, bearer); err != nil {
			return err
		}
		time.Sleep(time.Duration(1+i/100%4) * pause)
	}
	return nil
}

func authenticate(s *e2e.Authserver, bearer string) error {
	r, err := http.NewRequest("GET", s.URL+"/_security/_authenticate", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// photograph returns a picture of the whole page after an eviction, as PNG.
func photograph(ctx context.Context, chromium string, s *e2e.Authserver) ([]byte, error) {
	dir, err := os.MkdirTemp("", "svctoken-picture-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.Flag("no-sandbox", os.Getuid() == 0), chromedp.UserDataDir(dir),
		chromedp.Flag("disable-component-update", true))
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	home := strings.Replace(s.URL, "http://", "http://"+e2e.Admin+":"+e2e.AdminPassword+"@", 1) + "/"
	err = chromedp.Do(ctx, chromedp.EmulateViewport(1100, 800), chromedp.Navigate(home),
		chromedp.SetValue("#names", "token1, token2"), chromedp.Click("#evict"), chromedp.WaitVisible(".note.good"))
	if err != nil {
		return nil, err
	}
	return chromedp.Run(ctx, chromedp.FullScreenshot(100))
}
