package main

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/examples/authserver/servertest"
)

// text strips the tags of a page, and gathers its white space.
func text(page string) string {
	page = regexp.MustCompile(`(?s)<style.*?</style>|<script.*?</script>`).ReplaceAllString(page, "")
	return strings.Join(strings.Fields(html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " "))), " ")
}

func TestPage(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-reader", reader, "-service-tokens", "../../filesource/testdata/service_tokens", "-poll", "0")
	const token1 = "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA"
	page := func(path, user string) string {
		t.Helper()
		resp, body := p.Send("GET", path, user, nil, "Accept", "text/html")
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != "text/html; charset=utf-8" {
			t.Errorf("%s: got %d, %s", path, resp.StatusCode, got)
		}
		if got := resp.Header.Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") || !strings.Contains(got, "frame-ancestors 'none'") {
			t.Errorf("%s: got policy %s", path, got)
		}
		return body
	}
	contains := func(page string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if got := text(page); !strings.Contains(got, want) {
				t.Errorf("no %q in:\n%s", want, got)
			}
		}
	}

	p.Expect("GET", "/_security/_authenticate", token1, 200, "")
	p.Expect("GET", "/_security/_authenticate", token1, 200, "")
	contains(page("/", admin), "file index Hits confirmed from memory 1 0 Hit ratio of hits and misses 50.0 % –", "Misses waited for a load 1 0",
		"Entries verdicts remembered now 1 0", "Confirmed 200 2 Refused 401 0", "Tokens 8", "Index green, in memory", "None since the server started.", "Token names")

	form := url.Values{"account": {"elastic/fleet-server"}, "names": {"token1, token2"}}
	resp, _ := p.Send("POST", "/", admin, form, "Sec-Fetch-Site", "same-origin")
	if got := resp.Header.Get("Location"); resp.StatusCode != 303 || got != "/?done=1" {
		t.Fatalf("evict: got %d, on to %q", resp.StatusCode, got)
	}
	contains(page("/?done=1", admin), "Evicted elastic/fleet-server/token1,token2 : 1 from file, 0 from index.",
		"Entries verdicts remembered now 0 0", "– asked for 1 0 – as the source had changed 0 0")
	contains(page("/", reader), "UTC admin evicted elastic/fleet-server/token1,token2 : 1 from file, 0 from index")

	// Nothing went: green would be a lie.
	p.Send("POST", "/", admin, url.Values{"account": {"elastic/fleet-server"}, "names": {"tokne1"}})
	contains(page("/?done=2", admin), "Nothing was cached for elastic/fleet-server/tokne1 : is it spelt right?")

	// An index token that is deleted went because the index changed. An eviction over
	// the API is listed too, and so are creations, deletions and failed logins.
	_, created := p.Do("POST", route+"index1", admin)
	bearer := strings.Split(created, `"value":"`)[1]
	p.Expect("GET", "/_security/_authenticate", strings.TrimSuffix(bearer, `"}}`), 200, "")
	p.Expect("DELETE", route+"index1", admin, 200, "")
	p.Expect("POST", route+"*/_clear_cache", admin, 200, "")
	for range 3 {
		p.Expect("GET", "/", "mallory:guess", 401, "")
	}
	contains(page("/", admin), "– asked for 1 0 – as the source had changed 0 1", "admin evicted elastic/fleet-server/* : 0 from file, 0 from index",
		"admin deleted elastic/fleet-server/index1", "admin created elastic/fleet-server/index1", "127.0.0.1 m... 3")

	// Everything is asked about once more.
	all := url.Values{"account": {"elastic/fleet-server"}, "names": {" * "}}
	p.Expect("GET", "/_security/_authenticate", token1, 200, "")
	resp, body := p.Send("POST", "/", admin, all)
	contains(body, "Evict every token of elastic/fleet-server?", "Entries verdicts remembered now 1 0")
	if resp.StatusCode != 200 || !strings.Contains(body, `name="confirm"`) {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	all.Set("confirm", "yes")
	if resp, _ := p.Send("POST", "/", admin, all); resp.StatusCode != 303 {
		t.Errorf("got %d", resp.StatusCode)
	}
	contains(page("/", admin), "Entries verdicts remembered now 0 0")

	// Is it cached, where, since when and until when?
	p.Expect("GET", "/_security/_authenticate", token1, 200, "")
	found := text(page("/?account=elastic%2Ffleet-server&names=token1,+token2", reader))
	pattern := `elastic/fleet-server/token1 file (\d\S+ \S+ UTC) (\d\S+ \S+ UTC) elastic/fleet-server/token1 index not cached elastic/fleet-server/token2 file not cached`
	times := regexp.MustCompile(pattern).FindStringSubmatch(found)
	if times == nil {
		t.Fatalf("no %s in:\n%s", pattern, found)
	}
	since, err := time.Parse("2006-01-02 15:04:05 MST", times[1])
	until, err2 := time.Parse("2006-01-02 15:04:05 MST", times[2])
	if err != nil || err2 != nil || time.Since(since) > time.Minute || until.Sub(since) < 15*time.Minute || until.Sub(since) > 21*time.Minute {
		t.Errorf("since %v until %v", since, until)
	}
	resp, body = p.Send("GET", "/?account=elastic%2Ffleet-server&names=*", admin, nil, "Accept", "text/html")
	if contains(body, "look up tokens by their names"); resp.StatusCode != 400 {
		t.Errorf("got %d", resp.StatusCode)
	}

	// Who may only look has no form, and cannot evict without one either.
	if body := page("/", reader); strings.Contains(body, `method="post"`) || strings.Contains(body, ">Evict<") {
		t.Error("the reader has a form that evicts")
	}
	resp, body = p.Send("POST", "/", reader, form)
	if resp.StatusCode != 403 {
		t.Errorf("evict by the reader: got %d %s", resp.StatusCode, body)
	}

	// Another site's page cannot evict, with any browser.
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://evil.example"}, {"Origin", "null"}} {
		if resp, body := p.Send("POST", "/", admin, form, header...); resp.StatusCode != 403 {
			t.Errorf("evict with %s: got %d %s", header, resp.StatusCode, body)
		}
	}

	// A mistake stays in the form, with what is wrong; markup stays text.
	form.Set("names", `a,"><script>alert(1)</script>`)
	resp, body = p.Send("POST", "/", admin, form)
	if resp.StatusCode != 400 || strings.Contains(body, "<script>alert") || !strings.Contains(body, `value="a,&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"`) {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	contains(body, "name 2: invalid token name")
	if strings.Contains(text(body), "evict:") {
		t.Error("the page shows the name of a Go package")
	}
	form.Set("names", "")
	if resp, body := p.Send("POST", "/", admin, form); resp.StatusCode != 400 {
		t.Errorf("no names: got %d %s", resp.StatusCode, body)
	}
	if strings.Contains(page("/", admin), "{PBKDF2") || strings.Contains(page("/", admin), "supersecret") {
		t.Error("the page shows a secret or a hash")
	}
}
