package e2e_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/internal/harness/e2e"
)

// The tokens of filesource/testdata/service_tokens.
var fileBearers = []string{
	"AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA",
	"AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMjo3ODliZTZlMGVlZjNkMDIwYjdlYjNj",
}

// TestCurl sends the requests of the API's documentation with curl, word for word except
// for host and credentials, and similar ones that people type.
func TestCurl(t *testing.T) {
	curl := require(t, "curl")
	s := start(t)
	// run returns the header and the body of the answer.
	run := func(args ...string) (header, body string) {
		t.Helper()
		out, err := exec.Command(curl, append([]string{"-sS", "-i"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		header, body, _ = strings.Cut(strings.ReplaceAll(string(out), "\r\n", "\n"), "\n\n")
		return header, strings.TrimSpace(body)
	}
	operator := []string{"-u", e2e.Admin + ":" + e2e.AdminPassword}
	const done = `{"_nodes":{"total":1,"successful":1,"failed":0},"cluster_name":"svctoken","nodes":{"`
	const route = "/_security/service/elastic/fleet-server/credential/token/"
	for _, test := range []struct {
		name string
		args []string
		path string
		left int
	}{
		{"one", []string{"-X", "POST"}, route + "token1/_clear_cache", 1},
		{"list", []string{"-X", "POST"}, route + "token1,token2/_clear_cache", 0},
		{"wildcard", []string{"-X", "POST"}, route + "*/_clear_cache", 0},
		{"encoded comma", []string{"-X", "POST"}, route + "token1%2Ctoken2/_clear_cache", 0},
		{"no names", []string{"-X", "POST"}, route + "/_clear_cache", 0},
		{"pretty", []string{"-X", "POST"}, route + "token2/_clear_cache?pretty", 1},
		{"trailing slash", []string{"-X", "POST"}, route + "token2/_clear_cache/", 1},
		{"empty data", []string{"-d", ""}, route + "token2/_clear_cache", 1},
		{"content type without content", []string{"-X", "POST", "-H", "Content-Type: application/json"}, route + "token2/_clear_cache", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, bearer := range fileBearers {
				if header, body := run("-H", "Authorization: Bearer "+bearer, s.URL+"/_security/_authenticate"); !strings.HasPrefix(header, "HTTP/1.1 200 OK\n") {
					t.Fatalf("authenticate: got %s\n%s", header, body)
				}
			}
			entries(t, s, 2)
			header, body := run(append(append(test.args, operator...), s.URL+test.path)...)
			if !strings.HasPrefix(header, "HTTP/1.1 200 OK\n") || !strings.Contains(header, "\nX-Elastic-Product: Elasticsearch\n") || !strings.Contains(header, "\nContent-Type: application/json\n") {
				t.Errorf("got %s", header)
			}
			if got := strings.NewReplacer("\n", "", " ", "").Replace(body); !strings.HasPrefix(got, done) || !strings.HasSuffix(got, `":{"name":"authserver"}}}`) {
				t.Errorf("got %s", body)
			}
			entries(t, s, test.left)
		})
	}

	for _, test := range []struct {
		name   string
		args   []string
		status string
		header string
	}{
		{"no credentials", []string{"-X", "POST", s.URL + route + "*/_clear_cache"}, "401 Unauthorized", "\nWww-Authenticate: Bearer realm=\"security\"\n"},
		{"a body", append([]string{"-d", "{}", s.URL + route + "*/_clear_cache"}, operator...), "400 Bad Request", "\nContent-Type: application/json\n"},
		{"reader", []string{"-X", "POST", "-u", e2e.Reader + ":" + e2e.ReaderPassword, s.URL + route + "*/_clear_cache"}, "403 Forbidden", "\nContent-Type: application/json\n"},
		{"method", append([]string{s.URL + route + "*/_clear_cache"}, operator...), "405 Method Not Allowed", "\nAllow: POST\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			header, body := run(test.args...)
			if !strings.HasPrefix(header, "HTTP/1.1 "+test.status+"\n") || !strings.Contains(header+"\n", test.header) || !strings.HasPrefix(body, `{"error":{"root_cause":[`) {
				t.Errorf("got %s\n%s", header, body)
			}
		})
	}
}
