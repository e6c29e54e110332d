package main

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// text strips the tags of a page, and gathers its white space.
func text(page string) string {
	page = regexp.MustCompile(`(?s)<style.*?</style>|<script.*?</script>`).ReplaceAllString(page, "")
	return strings.Join(strings.Fields(html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " "))), " ")
}

func TestPage(t *testing.T) {
	p := start(t, "-admin", admin, "-reader", reader, "-service-tokens", "../../filesource/testdata/service_tokens", "-poll", "0")
	const token1 = "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA"
	page := func(path, user string) string {
		t.Helper()
		resp, body := p.send("GET", path, user, nil, "Accept", "text/html")
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

	p.expect("GET", "/_security/_authenticate", token1, 200, "")
	p.expect("GET", "/_security/_authenticate", token1, 200, "")
	contains(page("/", admin), "file index Entries 1 0 Hits 1 0 Wrong secrets refused from memory 0 0 Misses 1 0 Loads in flight 0 0",
		"Tokens 8", "Index green", "None since the server started.", "Token names")

	form := url.Values{"namespace": {"elastic"}, "service": {"fleet-server"}, "names": {"token1,token2"}}
	resp, _ := p.send("POST", "/", admin, form, "Sec-Fetch-Site", "same-origin")
	if got := resp.Header.Get("Location"); resp.StatusCode != 303 || got != "/?done=1" {
		t.Fatalf("evict: got %d, on to %q", resp.StatusCode, got)
	}
	contains(page("/?done=1", admin), "Evicted elastic/fleet-server/token1,token2 : 1 from file, 0 from index.",
		"Entries 0 0", "An operator asked 1 0 The file or the index changed 0 0")
	contains(page("/", reader), "UTC admin elastic/fleet-server/token1,token2 1 from file, 0 from index")

	// An index token that is deleted went because the index changed, and an eviction
	// over the API is listed too.
	_, created := p.do("POST", route+"index1", admin)
	bearer := strings.Split(created, `"value":"`)[1]
	p.expect("GET", "/_security/_authenticate", strings.TrimSuffix(bearer, `"}}`), 200, "")
	p.expect("DELETE", route+"index1", admin, 200, "")
	p.expect("POST", route+"*/_clear_cache", admin, 200, "")
	contains(page("/", admin), "An operator asked 1 0 The file or the index changed 0 1", "admin elastic/fleet-server/* 0 from file, 0 from index")

	// Who may only look has no form, and cannot evict without one either.
	if body := page("/", reader); strings.Contains(body, "<form") {
		t.Error("the reader has a form")
	}
	resp, body := p.send("POST", "/", reader, form)
	if resp.StatusCode != 403 {
		t.Errorf("evict by the reader: got %d %s", resp.StatusCode, body)
	}

	// Another site's page cannot evict, with any browser.
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://evil.example"}, {"Origin", "null"}} {
		if resp, body := p.send("POST", "/", admin, form, header...); resp.StatusCode != 403 {
			t.Errorf("evict with %s: got %d %s", header, resp.StatusCode, body)
		}
	}

	// A mistake stays in the form, with what is wrong; markup stays text.
	form.Set("names", `a,"><script>alert(1)</script>`)
	form.Set("namespace", "elastic")
	resp, body = p.send("POST", "/", admin, form)
	if resp.StatusCode != 400 || strings.Contains(body, "<script>alert") || !strings.Contains(body, `value="a,&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"`) {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	contains(body, "invalid token name")
	form.Set("names", "")
	if resp, body := p.send("POST", "/", admin, form); resp.StatusCode != 400 {
		t.Errorf("no names: got %d %s", resp.StatusCode, body)
	}
	if strings.Contains(page("/", admin), "{PBKDF2") || strings.Contains(page("/", admin), "supersecret") {
		t.Error("the page shows a secret or a hash")
	}
}
