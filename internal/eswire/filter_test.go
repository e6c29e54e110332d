package eswire_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/internal/eswire"
)

const body = `{"count":2,"nodes":{"a":{"name":"A","roles":["x","y"]},"b":{"name":"B"}},"list":[{"id":1,"n.m":2},{"id":3},4],"none":{},"null":null}`

func filtered(path string) string {
	w := httptest.NewRecorder()
	eswire.Reply(w, httptest.NewRequest("GET", "/?filter_path="+url.QueryEscape(path), nil), 200, json.RawMessage(body))
	return w.Body.String()
}

func TestFilterPath(t *testing.T) {
	for _, test := range []struct{ path, want string }{
		{"", body},
		{",", body},
		{"count", `{"count":2}`},
		{" count , null", `{"count":2,"null":null}`},
		{"nodes.a.name", `{"nodes":{"a":{"name":"A"}}}`},
		{"nodes.*.name", `{"nodes":{"a":{"name":"A"},"b":{"name":"B"}}}`},
		{"no*.a", `{"nodes":{"a":{"name":"A","roles":["x","y"]}}}`},
		{"*o*s.*.r*s", `{"nodes":{"a":{"roles":["x","y"]}}}`},
		{"n*", `{"nodes":{"a":{"name":"A","roles":["x","y"]},"b":{"name":"B"}},"none":{},"null":null}`},
		{"**.name", `{"nodes":{"a":{"name":"A"},"b":{"name":"B"}}}`},
		{"**.count", `{"count":2}`},
		{"nodes.**", `{"nodes":{"a":{"name":"A","roles":["x","y"]},"b":{"name":"B"}}}`},
		{"nodes.**.name,count", `{"count":2,"nodes":{"a":{"name":"A"},"b":{"name":"B"}}}`},
		{"**", body},
		{"**.**", body},
		{"list.id", `{"list":[{"id":1},{"id":3}]}`},
		{`list.n\.m`, `{"list":[{"n.m":2}]}`},
		{"list.n.m", `{}`},
		{"none", `{"none":{}}`},
		{"none.x", `{}`},
		{"count.x", `{}`},
		{"nobody", `{}`},
		{"cou", `{}`},
		{"ount", `{}`},
		{"-nodes,-list", `{"count":2,"none":{},"null":null}`},
		{"-nodes.a,-list,-n*e", `{"count":2,"nodes":{"b":{"name":"B"}},"null":null}`},
		{"-**.name,-list", `{"count":2,"nodes":{"a":{"roles":["x","y"]}},"none":{},"null":null}`},
		{"-list.id,-nodes", `{"count":2,"list":[{"n.m":2},4],"none":{},"null":null}`},
		{"-*", `{}`},
		{"nodes,-nodes.*.roles", `{"nodes":{"a":{"name":"A"},"b":{"name":"B"}}}`},
		{"nodes.a.name,-nodes", `{}`},
		{"-", body},
		{".", `{}`},
	} {
		if got := filtered(test.path); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.path, got, test.want)
		}
	}
}

// FuzzFilterPath: whatever a client asks for, the answer is an object, and comes in time.
func FuzzFilterPath(f *testing.F) {
	f.Add("nodes.*.name,-**.roles")
	f.Add(strings.Repeat("**.a*b*c.", 50) + "**")
	f.Add(`\.\..-,`)
	f.Fuzz(func(t *testing.T, path string) {
		var got map[string]any
		if err := json.Unmarshal([]byte(filtered(path)), &got); err != nil || len(got) > 5 {
			t.Errorf("%q: got %v, %v", path, got, err)
		}
	})
}
