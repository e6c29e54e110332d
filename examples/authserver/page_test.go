package main

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/examples/authserver/servertest"
)

// text removes the tags of a page, and collapses white space.
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
	if body := page("/", admin); !regexp.MustCompile(`<title>svctoken · authserver · up \d+ [a-z]+</title>`).MatchString(body) {
		t.Errorf("the title does not have the product, the node and for how long it is up:\n%.500s", body)
	}
	contains(page("/", admin), "file index Hits confirmed from memory 1 0 Hit ratio of hits and misses 50.0 % –", "Misses waited for a load 1 0",
		"Entries verdicts remembered now 1 0", "Confirmed 200 2 Refused 401 0", "Tokens 8", "Index green, in memory", "None since the server started.", "Token names")

	form := url.Values{"account": {"elastic/fleet-server"}, "names": {"token1, token2"}}
	resp, _ := p.Send("POST", "/", admin, form, "Sec-Fetch-Site", "same-origin")
	if got := resp.Header.Get("Location"); resp.StatusCode != 303 || got != "/?done=1" {
		t.Fatalf("evict: got %d, on to %q", resp.StatusCode, got)
	}
	contains(page("/?done=1", admin), "Evicted elastic/fleet-server/token1,token2 : 1 from file, 0 from index.",
		"Entries verdicts remembered now 0 0", "– asked for 1 0 – as the source had changed 0 0")
	contains(page("/", reader), "s ago admin evicted elastic/fleet-server/token1,token2 : 1 from file, 0 from index")

	// No entry went, so it must not be green.
	p.Send("POST", "/", admin, url.Values{"account": {"elastic/fleet-server"}, "names": {"tokne1"}})
	contains(page("/?done=2", admin), "Nothing was cached for elastic/fleet-server/tokne1 : is it spelt right?")

	// If an index token is deleted, the cause is a change of the index. The page also
	// lists evictions over the API, creations, deletions and failed logins.
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

	// Is the token cached, where, since when and until when? Does it exist at all?
	p.Expect("GET", "/_security/_authenticate", token1, 200, "")
	p.Create(route+"here", admin)
	lookUp := func(user, names string, status int, wants ...string) {
		t.Helper()
		resp, body := p.Send("POST", "/_look_up", user, url.Values{"account": {"elastic/fleet-server"}, "names": {names}})
		if resp.StatusCode != status || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("look up %.20s: got %d", names, resp.StatusCode)
		}
		contains(body, wants...)
		if strings.Contains(body, token1[5:]) {
			t.Error("the page repeats a bearer")
		}
		if answered := strings.Contains(body, ` class="answered"`); answered != (status == 200) {
			t.Errorf("look up %.20s: on a phone, the hint is hidden: %t", names, answered) // for the answer to be in view
		}
	}
	lookUp(reader, "token1, token2, nobody, here", 200, "elastic/fleet-server/token1 file cached, since 0 s ago , until in ", "elastic/fleet-server/token1 index no such token",
		"elastic/fleet-server/token2 file not cached", "elastic/fleet-server/nobody file no such token", "elastic/fleet-server/here index not cached created 0 s ago by admin")
	lookUp(admin, token1, 200, "elastic/fleet-server/token1 file cached")
	lookUp(admin, ` "Bearer `+token1+`"`, 200, "elastic/fleet-server/token1 file cached")
	lookUp(admin, token1[:20], 400, "the name in it cannot be read")
	lookUp(admin, "*", 400, "look up tokens by their names")
	p.Expect("GET", "/?account=elastic%2Ffleet-server&names=a", admin, 400, "unrecognized")
	p.Expect("POST", "/_look_up", "", 401, "")

	// A user who may only look gets no form, and cannot evict without one either.
	if body := page("/", reader); strings.Contains(body, `action="/"`) || strings.Contains(body, ">Evict<") {
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

	// A mistake stays in the form, with an explanation; markup stays text.
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
