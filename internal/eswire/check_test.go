package eswire_test

import (
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/internal/eswire"
)

// TestParameters: a route takes its own parameters, and those of all routes. Package
// evict tests the rest of what Check refuses.
func TestParameters(t *testing.T) {
	for target, want := range map[string]string{
		"/?filter_path=" + strings.Repeat("a", 4096):                            "",
		"/?filter_path=" + strings.Repeat("a", 4097):                            "filter_path has 4097 bytes, and may have 4096",
		"/?refresh=x&pretty&human=true&error_trace=false&filter_path=a&format=": "",
		"/?Refresh=x":                         "request [/] contains unrecognized parameter: [Refresh]",
		"/?human=1":                           "Failed to parse value [1] as only [true] or [false] are allowed.",
		"/?" + strings.Repeat("x", 300) + "=": "request [/] contains unrecognized parameter: [" + strings.Repeat("x", 256) + "...]",
	} {
		got := ""
		if err := eswire.Check(httptest.NewRecorder(), httptest.NewRequest("GET", target, nil), "refresh"); err != nil {
			got = err.Reason
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
	}
	var params []string
	for i := range 100 {
		params = append(params, fmt.Sprintf("p%d", i))
	}
	many := "/?" + strings.Join(params, "&")
	if err := eswire.Check(httptest.NewRecorder(), httptest.NewRequest("GET", many, nil)); err == nil || len(err.Reason) > 200 {
		t.Errorf("got %v, want a short reason", err)
	}
}

// TestSegments: the parts of a path stay as they are spelt.
func TestSegments(t *testing.T) {
	for path, want := range map[string][]string{
		"/":            nil,
		"//":           nil,
		"/a/b":         {"a", "b"},
		"/a//b//":      {"a", "", "b"},
		"/a%2Fb/":      {"a%2Fb"},
		"/%61/b":       {"%61", "b"},
		`/%61/"<`:      {"%61", `"<`},
		"/a/../b":      {"a", "..", "b"},
		"///a":         {"", "", "a"},
		"/a,b/*/%2A//": {"a,b", "*", "%2A"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		u, err := url.ParseRequestURI("http://h" + path)
		if err != nil {
			t.Fatal(err)
		}
		r.URL = u
		if got := eswire.Segments(r.URL); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	// A path that the host has changed counts, whatever the client had sent.
	u := &url.URL{Path: "/b/c", RawPath: "/%61/b/c"}
	if got := eswire.Segments(u); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("got %q", got)
	}
}

func TestPattern(t *testing.T) {
	pattern := eswire.NewPattern("/fixed/{name}/end")
	for path, want := range map[string]string{
		"/fixed/x/end":       "x",
		"/fixed/%78%2c/end":  "x,",
		"/fixed//end":        "",
		"/fixed/a%2Fb/end//": "a/b",
		"/f%69xed/x/end":     "no",
		"/fixed/x/en%64":     "no",
		"/FIXED/x/end":       "no",
		"/fixed/x":           "no",
		"/fixed/x/end/more":  "no",
		"/./fixed/x/end":     "no",
		"//fixed/x/end":      "no",
		`/f%69xed/"/end`:     "no",
	} {
		u, err := url.ParseRequestURI("http://h" + path)
		if err != nil {
			t.Fatal(err)
		}
		values, ok := pattern.Match(eswire.Segments(u))
		if ok != (want != "no") || ok && values["name"] != want {
			t.Errorf("%s: got %q, %t", path, values, ok)
		}
	}
}

func TestShorten(t *testing.T) {
	for name, want := range map[string]string{
		"": "...", "bob": "...", "user": "u...", "mallory": "m...", "hunter2-password": "hun...", strings.Repeat("é", 8): "éé...", "\xff\xff\xff\xff": "...",
	} {
		if got := eswire.Shorten(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"tokencache: invalid name":     "invalid name",
		"evict: tokencache: too: long": "too: long",
		"fleet: fleetsql: append":      "append",
		"open /x: no such file":        "open /x: no such file",
		"a tokencache: inside stays":   "a tokencache: inside stays",
		"no colon":                     "no colon",
	} {
		if got := eswire.Plain(errors.New(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestUnreadBody: an answer that leaves a body unread ends the connection, unless it is
// one of HTTP/2, which other requests share.
func TestUnreadBody(t *testing.T) {
	for major, want := range map[int]string{1: "close", 2: ""} {
		r := httptest.NewRequest("POST", "/", strings.NewReader("x"))
		r.ProtoMajor = major
		w := httptest.NewRecorder()
		eswire.Unauthorized(w, r, eswire.Challenges("security"), "")
		if got := w.Header().Get("Connection"); got != want {
			t.Errorf("HTTP/%d: got Connection %q, want %q", major, got, want)
		}
	}
}

// TestNoCredentialsShown: an answer repeats wrong input without a secret in it.
func TestNoCredentialsShown(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.SetBasicAuth("user", "not-to-be-shown")
	w := httptest.NewRecorder()
	eswire.Unauthorized(w, r, eswire.Challenges("security"), "")
	if body, _ := io.ReadAll(w.Body); w.Code != 401 || strings.Contains(string(body), "not-to-be-shown") {
		t.Errorf("got %d %s", w.Code, body)
	}
}
