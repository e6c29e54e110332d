package e2e_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/svctoken/svctoken/internal/harness/e2e"
)

// A browser is a headless Chromium with one tab.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex // guards the field below
	problems []string   // what the console and dialogs said
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	path := require(t, "chromium", "chromium-browser", "google-chrome")
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.Flag("no-sandbox", os.Getuid() == 0), // which root needs
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.UserDataDir(t.TempDir()),
	)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	return b
}

// listen records problems of the page. Answers of 4xx are in the browser's log too, but
// are not problems.
func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch event := event.(type) {
	case *log.EventEntryAdded:
		if event.Entry.Source == log.EntrySourceSecurity {
			b.problems = append(b.problems, "policy: "+event.Entry.Text)
		}
	case *runtime.EventConsoleAPICalled:
		for _, arg := range event.Args {
			b.problems = append(b.problems, "console: "+string(arg.Value))
		}
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, "exception: "+event.ExceptionDetails.Text)
	case *page.EventJavascriptDialogOpening:
		b.problems = append(b.problems, "dialog: "+event.Message)
		go chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
	}
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns the value of a JavaScript expression.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// await waits until the text of the page, on one line, has all of the parts.
func (b *browser) await(parts ...string) {
	b.t.Helper()
	for _, part := range parts {
		b.poll(fmt.Sprintf("document.body && document.body.innerText.replace(/\\s+/g, ' ').includes(%q)", part))
	}
}

// poll waits until the condition is true. It tries again if the browser has gone to the
// next page meanwhile.
func (b *browser) poll(condition string) {
	b.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		_, err := chromedp.Run(b.ctx, chromedp.Poll[bool](condition, chromedp.WithPollingTimeout(time.Until(deadline))))
		if err == nil {
			return
		}
		if time.Now().After(deadline) || b.ctx.Err() != nil {
			b.t.Fatalf("no %s: %v in:\n%s", condition, err, eval[string](b, "document.body.innerText"))
		}
	}
}

// tab presses the tabulator until the element with this id has the focus.
func (b *browser) tab(id string) {
	b.t.Helper()
	for range 20 {
		b.do(chromedp.KeyEvent(kb.Tab))
		if eval[string](b, "document.activeElement.id") == id {
			return
		}
	}
	b.t.Fatalf("the keyboard does not reach %s", id)
}

// screenshot keeps a picture of the whole page if SCREENSHOTS names a folder.
func (b *browser) screenshot(name string) {
	b.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o666); err != nil {
		b.t.Fatal(err)
	}
}

// TestPage uses the operators' page as a person would.
func TestPage(t *testing.T) {
	s := start(t)
	b := startBrowser(t)
	authenticate := func(bearer string) {
		t.Helper()
		r, err := http.NewRequest("GET", s.URL+"/_security/_authenticate", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+bearer)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("got %s", resp.Status)
		}
	}
	home := strings.Replace(s.URL, "http://", "http://"+e2e.Admin+":"+e2e.AdminPassword+"@", 1) + "/"
	authenticate(fileBearers[0])
	authenticate(fileBearers[1])

	b.do(chromedp.Navigate(home))
	b.await("Entries verdicts remembered now 2 0", "Hits confirmed from memory 0 0", "Misses waited for a load 2 0", "Loading loads that read now 0 0",
		"Confirmed 200 2", "Refused 401 0", "Tokens 8", "Index green, in memory", "None since the server started.")

	// The keyboard alone reaches the form; the figures move on meanwhile, and what
	// has been typed stays.
	b.tab("account")
	b.do(chromedp.KeyEvent(kb.ArrowDown))
	authenticate(fileBearers[0])
	b.await("Hits confirmed from memory 1 0", "Hit ratio of hits and misses 33.3 % –")
	if got := eval[string](b, "document.activeElement.value"); got != "elastic/kibana" {
		t.Errorf("the field has %q", got)
	}
	b.do(chromedp.KeyEvent(kb.ArrowUp))
	b.tab("names")
	b.do(chromedp.KeyEvent("token1" + kb.Enter))
	b.await("Evicted elastic/fleet-server/token1: 1 from file, 0 from index.", "Entries verdicts remembered now 1 0", "– asked for 1 0")

	// Loading the page again evicts nothing again.
	b.do(chromedp.Reload())
	b.await("Recent changes")
	if rows := eval[int](b, "document.querySelectorAll('[aria-labelledby=recent] tbody tr').length"); rows != 1 {
		t.Errorf("got %d evictions", rows)
	}

	// The page shows what is cached and what is not, and the form keeps its input.
	b.do(chromedp.SetValue("#names", "token1, token2"), chromedp.Click("#look"))
	b.await("elastic/fleet-server/token1 file not cached", "elastic/fleet-server/token2 file cached, since", "elastic/fleet-server/token2 index no such token")
	if got := eval[string](b, "document.getElementById('names').value"); got != "token1, token2" {
		t.Errorf("the field has %q", got)
	}
	b.screenshot("looked-up")

	// A misspelt name is not reported in green.
	b.do(chromedp.SetValue("#names", "tokne2"), chromedp.Click("#evict"))
	b.await("Nothing was cached for elastic/fleet-server/tokne2: is it spelt right?")

	// Everything is asked about once more; the keyboard confirms.
	b.do(chromedp.SetValue("#names", "*"), chromedp.Click("#evict"))
	b.await("Evict every token of elastic/fleet-server?", "Entries verdicts remembered now 1 0")
	b.screenshot("confirm")
	if got := eval[string](b, "document.activeElement.id"); got != "cancel" {
		t.Errorf("%q has the focus", got)
	}
	b.tab("yes")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.await("Evicted elastic/fleet-server/*: 1 from file, 0 from index.", "Entries verdicts remembered now 0 0")
	authenticate(fileBearers[1])

	// Refusals and failed logins show, and the lines move.
	for range 20 {
		refused(t, s)
	}
	b.await("Refused 401 20", "elastic/fleet-server/nobody 20")
	b.poll("Number(document.querySelector('.chart.refused svg').getAttribute('aria-label').match(/, ([0-9.]+) at most/)[1]) > 0")

	// Markup stays text.
	const markup = `"><script>alert(2)</script><img src=x onerror=alert(1)>`
	b.do(chromedp.SetValue("#names", markup), chromedp.Click("#evict"))
	b.await("invalid token name")
	if got := eval[string](b, "document.getElementById('names').value"); got != markup {
		t.Errorf("the field has %q", got)
	}
	if images := eval[int](b, "document.images.length"); images != 0 {
		t.Errorf("the page has %d images", images)
	}

	looks(t, b, home)

	// A page of another site cannot evict, though the browser knows the password.
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form method=post action="%s/_security/service/elastic/fleet-server/credential/token/*/_clear_cache"></form><script>document.forms[0].submit()</script>`, s.URL)
	}))
	defer foreign.Close()
	b.do(chromedp.Navigate(strings.Replace(foreign.URL, "127.0.0.1", "localhost", 1)))
	b.await("the request comes from the page of another site")
	entries(t, s, 1)

	// If the server is gone, the page says that its figures are old.
	b.do(chromedp.Navigate(home))
	b.await("Entries verdicts remembered now 1 0")
	s.Stop()
	b.await("The server does not answer: the figures are old.")

	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.problems) > 0 {
		t.Errorf("the browser says %q", b.problems)
	}
}

// refused sends a token that does not exist.
func refused(t *testing.T, s *e2e.Authserver) {
	t.Helper()
	bearer := base64.RawStdEncoding.EncodeToString([]byte("\x00\x01\x00\x01elastic/fleet-server/nobody:0123456789"))
	r, err := http.NewRequest("GET", s.URL+"/_security/_authenticate", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %s", resp.Status)
	}
}

// contrasts returns the texts whose contrast is below what WCAG 2.2 asks for (4.5).
const contrasts = `(() => {
  const parse = (c) => c.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const back = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  return [...document.querySelectorAll("body *")].filter((e) => e.offsetParent && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).filter((e) => {
    const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(back(e))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05) < 4.5;
  }).map((e) => e.textContent.trim());
})()`

// looks checks the page on a desktop and on a phone, in light and in dark mode.
func looks(t *testing.T, b *browser, home string) {
	t.Helper()
	for _, screen := range []struct {
		name          string
		width, height int64
	}{{"desk", 1280, 900}, {"phone", 360, 740}} {
		for _, scheme := range []string{"light", "dark"} {
			media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
			if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, media); err != nil {
				t.Fatal(err)
			}
			b.do(chromedp.EmulateViewport(screen.width, screen.height), chromedp.Navigate(home+"?done=1"))
			b.await("Evicted elastic/fleet-server/token1")
			b.screenshot(screen.name + "-" + scheme)
			if wide := eval[int](b, "document.documentElement.scrollWidth"); wide > int(screen.width) {
				t.Errorf("%s: the page is %d wide", screen.name, wide)
			}
			if low := eval[bool](b, "document.getElementById('look').getBoundingClientRect().bottom > innerHeight"); low {
				t.Errorf("%s: the form is not in view", screen.name)
			}
			if pale := eval[[]string](b, contrasts); len(pale) > 0 {
				t.Errorf("%s, %s: too little contrast: %q", screen.name, scheme, pale)
			}
			dark := eval[bool](b, "parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]) < 128")
			if dark != (scheme == "dark") {
				t.Errorf("%s: dark is %t", scheme, dark)
			}
		}
	}
}
