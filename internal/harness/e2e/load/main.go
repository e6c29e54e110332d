// Command load measures how many requests a second examples/authserver
// authenticates over loopback connections that are kept alive, with caching and
// without, and writes docs/load.md.
//
//	go run -C internal/harness/e2e ./load
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/svctoken/svctoken/internal/harness/e2e"
)

var (
	root        = flag.String("root", "../../..", "the repository's root")
	out         = flag.String("out", "../../../docs/load.md", "the page to write; empty: none")
	duration    = flag.Duration("duration", 5*time.Second, "how long to send requests, for each row; at most a minute")
	connections = flag.Int("connections", 8, "how many connections send requests; at most 64")
	tokens      = flag.Int("tokens", 100, "how many tokens there are; at most 1000")
)

func main() {
	flag.Parse()
	if *duration <= 0 || *duration > time.Minute || *connections < 1 || *connections > 64 || *tokens < 1 || *tokens > 1000 {
		fmt.Fprintln(os.Stderr, "load: a flag is out of its bounds; see -help")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "load: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	cached, err := measure("20m")
	if err != nil {
		return err
	}
	uncached, err := measure("0")
	if err != nil {
		return err
	}
	var page bytes.Buffer
	err = template.Must(template.New("page").Parse(pageText)).Execute(&page, map[string]any{
		"Go": runtime.Version(), "OS": runtime.GOOS, "Arch": runtime.GOARCH, "Cores": runtime.NumCPU(),
		"Connections": *connections, "Tokens": *tokens, "Duration": *duration,
		"Cached": cached, "Uncached": uncached, "Ratio": fmt.Sprintf("%.0f", cached.rate/uncached.rate),
	})
	if err != nil {
		return err
	}
	fmt.Print(page.String())
	if *out == "" {
		return nil
	}
	return os.WriteFile(*out, page.Bytes(), 0o666)
}

const pageText = "# Load\n" + `
Written by ` + "`go run -C internal/harness/e2e ./load`" + `: examples/authserver answers ` + "`GET /_security/_authenticate`" + ` over {{.Connections}}
loopback connections that are kept alive, for {{.Tokens}} tokens of its index, whose secrets are hashed with PBKDF2 of 10 000
iterations. Client and server share the machine's {{.Cores}} cores, so the figures are low, and those with caching are mostly the cost of HTTP.
Compare the figures of one run with each other. This run: {{.Go}}, {{.OS}}/{{.Arch}}, {{.Duration}} for each row.

| server | requests a second | median | 99th percentile |
| --- | --- | --- | --- |
| with caching (` + "`-ttl 20m`" + `) | {{.Cached.Rate}} | {{.Cached.Median}} | {{.Cached.P99}} |
| without (` + "`-ttl 0`" + `) | {{.Uncached.Rate}} | {{.Uncached.Median}} | {{.Uncached.P99}} |

Caching answers **{{.Ratio}} times** as many requests.
`

// A result is what one server did.
type result struct {
	rate  float64 // requests a second
	times []time.Duration
}

func (r result) Rate() string          { return fmt.Sprintf("%.0f", r.rate) }
func (r result) Median() time.Duration { return r.quantile(0.5) }
func (r result) P99() time.Duration    { return r.quantile(0.99) }
func (r result) quantile(q float64) time.Duration {
	return r.times[int(q*float64(len(r.times)-1))].Round(time.Microsecond)
}

// measure sends requests to a server with this -ttl.
func measure(ttl string) (result, error) {
	builder := e2e.Builder{Root: *root}
	defer builder.Close()
	server, err := builder.Start("-ttl", ttl)
	if err != nil {
		return result{}, err
	}
	defer server.Stop()
	host := strings.TrimPrefix(server.URL, "http://")
	requests := make([][]byte, *tokens)
	for i := range requests {
		bearer, err := server.CreateToken("elastic", "fleet-server", fmt.Sprintf("load%d", i))
		if err != nil {
			return result{}, err
		}
		requests[i] = fmt.Appendf(nil, "GET /_security/_authenticate HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", host, bearer)
	}
	if _, err := send(host, requests, func(i int) bool { return i < len(requests) }); err != nil { // warms the cache
		return result{}, err
	}

	type part struct {
		times []time.Duration
		err   error
	}
	parts := make(chan part, *connections)
	began := time.Now()
	for c := range *connections {
		mine := slices.Concat(requests[c%len(requests):], requests[:c%len(requests)])
		go func() {
			times, err := send(host, mine, func(int) bool { return time.Since(began) < *duration })
			parts <- part{times, err}
		}()
	}
	var r result
	var errs []error
	for range *connections {
		p := <-parts
		r.times, errs = append(r.times, p.times...), append(errs, p.err)
	}
	r.rate = float64(len(r.times)) / time.Since(began).Seconds()
	slices.Sort(r.times)
	return r, errors.Join(errs...)
}

// send sends the requests over one connection, one after the other and again from
// the first, while the condition holds, and returns how long each took. An answer
// other than 200 is an error.
func send(host string, requests [][]byte, while func(i int) bool) (times []time.Duration, err error) {
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for i := 0; while(i); i++ {
		began := time.Now()
		if _, err := conn.Write(requests[i%len(requests)]); err != nil {
			return nil, err
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("got %s", resp.Status)
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}
