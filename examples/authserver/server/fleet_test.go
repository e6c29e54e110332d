package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/examples/authserver/server"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleettest"
)

// lease is long enough for a busy machine, and short enough to be waited for.
const lease = 2 * time.Second

// A node is a server of a fleet, in this process.
type node struct {
	t    *testing.T
	conn *fleettest.Conn
	url  string
	log  *buffer
	stop func()
}

// A buffer is a writer that a test reads meanwhile.
type buffer struct {
	mu sync.Mutex // guards the field below
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func startNode(t *testing.T, log *fleettest.Log, name string, maxWait time.Duration) *node {
	t.Helper()
	n := &node{t: t, conn: log.Connect(), log: new(buffer)}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	o := server.Options{
		Name: name, Listen: "127.0.0.1:0", Admin: "admin:password", Accounts: "elastic/fleet-server", TTL: time.Hour,
		MaxWait: maxWait, Out: io.Discard, Log: n.log, Ready: func(url string) { ready <- url },
	}
	go func() {
		ended <- server.RunFleet(ctx, o, server.Fleet{Log: n.conn, Kind: "a log in memory", Config: fleet.Config{Lease: lease}})
	}()
	n.stop = sync.OnceFunc(func() {
		n.conn.Heal()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s ended with %v", name, err)
		}
	})
	t.Cleanup(n.stop)
	select {
	case n.url = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return n
}

// do sends a request as the operator, or with a bearer.
func (n *node) do(method, path, bearer string, form url.Values, header ...string) (status int, body string) {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), method, n.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		n.t.Fatal(err)
	}
	r.SetBasicAuth("admin", "password")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// await sends the request until the answer is the one that is wanted.
func (n *node) await(status int, contains, method, path, bearer string) string {
	n.t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		got, body := n.do(method, path, bearer, nil)
		if got == status && strings.Contains(body, contains) {
			return body
		}
		if time.Since(began) > 30*time.Second {
			n.t.Fatalf("%s %s: got %d %s, want %d %s\n%s", method, path, got, body, status, contains, n.log)
		}
	}
}

// page returns the text of the operators' page.
func (n *node) page(path string) string {
	n.t.Helper()
	_, body := n.do("GET", path, "", nil, "Accept", "text/html")
	body = regexp.MustCompile(`(?s)<style.*?</style>|<script.*?</script>`).ReplaceAllString(body, "")
	return strings.Join(strings.Fields(html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, " "))), " ")
}

func (n *node) pageMatches(path string, patterns ...string) {
	n.t.Helper()
	page := n.page(path)
	for _, pattern := range patterns {
		if !regexp.MustCompile(pattern).MatchString(page) {
			n.t.Errorf("no %s in:\n%s", pattern, page)
		}
	}
}

// A stats is the fleet's part of the statistics.
type stats struct {
	Fleet struct {
		ID, Name, Log   string
		Answers         bool
		Applied         uint64
		LeaseMillis     int `json:"lease_millis"`
		LeaseLeftMillis int `json:"lease_left_millis"`
		Members         []struct {
			Name            string
			Applied         uint64
			HeardMillisAgo  int `json:"heard_millis_ago"`
			LeaseLeftMillis int `json:"lease_left_millis"`
		}
	}
}

func (n *node) stats() (s stats) {
	n.t.Helper()
	_, body := n.do("GET", "/_stats", "", nil)
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		n.t.Fatal(err)
	}
	return s
}

const (
	credential = "/_security/service/elastic/fleet-server/credential"
	tokens     = credential + "/token/"
	whoami     = "/_security/_authenticate"
)

// TestFleet: three servers of one log; one is cut off and comes back. Only
// the second waits for that one's lease.
func TestFleet(t *testing.T) {
	log := fleettest.NewLog()
	one, two, three := startNode(t, log, "one", lease/4), startNode(t, log, "two", 0), startNode(t, log, "three", lease/4)
	for _, n := range []*node{one, two, three} {
		n.await(200, `"answers":true`, "GET", "/_stats", "")
	}
	log.Settle()
	body := one.await(200, `"created":true`, "POST", tokens+"t1", "")
	var created struct{ Token struct{ Value string } }
	if err := json.Unmarshal([]byte(body), &created); err != nil {
		t.Fatal(err)
	}
	bearer := created.Token.Value
	for _, n := range []*node{one, two, three} {
		n.await(200, `"_service_account_index"`, "GET", whoami, bearer)
	}
	if status, body := two.do("POST", tokens+"t1", "", nil); status != 409 {
		t.Errorf("created twice: %d %s", status, body)
	}
	if status, body := three.do("GET", credential, "", nil); status != 200 || !strings.Contains(body, `"tokens":{"t1":{}}`) {
		t.Errorf("the list: %d %s", status, body)
	}

	// An eviction says which nodes it holds on, and so does the page.
	ids := map[string]string{}
	for name, n := range map[string]*node{"one": one, "two": two, "three": three} {
		ids[name] = n.stats().Fleet.ID
	}
	nodes := func(names ...string) string {
		by := map[string]map[string]string{}
		for _, name := range names {
			by[ids[name]] = map[string]string{"name": name}
		}
		b, _ := json.Marshal(by)
		return string(b)
	}
	all := `{"_nodes":{"total":3,"successful":3,"failed":0},"cluster_name":"svctoken","nodes":` + nodes("one", "two", "three") + `}`
	if diff := cmp.Diff(all, two.await(200, `"successful":3`, "POST", tokens+"t1/_clear_cache", "")); diff != "" {
		t.Errorf("eviction (-want +got):\n%s", diff)
	}
	one.await(200, `"name":"three"`, "GET", "/_stats", "")
	seconds := `\d+(\.\d)?m?s`
	one.pageMatches("/", "Index green, a log in memory, revision [1-9]", "Fleet This node one "+ids["one"]+" Answers yes Since \\d+ s ago Lease left "+seconds+" of 2s Applied position [1-9]",
		"Member Heard ago Lease left, at most Applied one "+seconds+" "+seconds+` \d+ three `+seconds+" "+seconds+` \d+ two `)
	two.pageMatches("/", `admin evicted elastic/fleet-server/t1 : 0 from file, \d from index; in force on (one, three|three, one)`)
	if got := one.stats().Fleet; got.Name != "one" || got.LeaseMillis != int(lease.Milliseconds()) || got.LeaseLeftMillis <= 0 || got.Applied == 0 || len(got.Members) != 3 {
		t.Errorf("got %+v", got)
	}
	if a, b := one.stats().Fleet.Log, two.stats().Fleet.Log; a == "" || a != b {
		t.Errorf("the nodes are of logs %s and %s", a, b)
	}

	// A node that is cut off is a failure to callers that do not wait for its lease.
	three.await(200, "", "GET", whoami, bearer)
	for _, name := range []string{"one", "two"} { // within a fifth of a lease it has heard of them
		three.await(200, `"name":"`+name+`"`, "GET", "/_stats", "")
	}
	three.conn.Cut(true, true)
	failed := func(body string) {
		t.Helper()
		want := regexp.QuoteMeta(`{"_nodes":{"total":3,"successful":2,"failed":1,"failures":[{"type":"failed_node_exception","reason":"node [`+ids["three"]+`] failed","node_id":"`+ids["three"]+
			`","caused_by":{"type":"exception","reason":"it has not answered, and may still be serving, until `) + `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z` + regexp.QuoteMeta(`"}}]},"cluster_name":"svctoken","nodes":`+nodes("one", "two")+`}`)
		if !regexp.MustCompile("^" + want + "$").MatchString(body) {
			t.Errorf("got %s, want %s", body, want)
		}
	}
	status, body := one.do("POST", tokens+"t1/_clear_cache", "", nil)
	if status != 200 {
		t.Errorf("got %d", status)
	}
	failed(body)
	form := url.Values{"account": {"elastic/fleet-server"}, "names": {"t1"}}
	status, body = one.do("POST", "/", "", form, "Accept", "text/html") // follows to the page
	if unconfirmed := "; in force on two; not confirmed by three (until "; status != 200 || !strings.Contains(body, `<p class="note bad" role="status">Evicted`) || !strings.Contains(body, unconfirmed) {
		t.Errorf("got %d, no %s in %s", status, unconfirmed, body)
	}
	status, body = two.do("DELETE", tokens+"t1", "", nil)
	for name, n := range map[string]*node{"one": one, "two": two, "three": three} {
		if got, body := n.do("GET", whoami, bearer, nil); got == 200 {
			t.Errorf("%s confirms a deleted token: %s", name, body)
		}
	}
	if status != 200 || body != `{"found":true}` {
		t.Errorf("delete: %d %s", status, body)
	}
	one.await(401, "", "GET", whoami, bearer)
	three.await(200, `"answers":false,"applied":0,"changes_pending":0,"error":"`, "GET", "/_stats", "")
	three.await(503, "the user cannot be authenticated at present", "GET", whoami, bearer)
	three.pageMatches("/", `Answers no, it has no lease: \S.* Since \d+ s ago Member`, "Index red, a log in memory, failing: this node does not serve at present")
	status, body = three.do("POST", tokens+"t1/_clear_cache", "", nil)
	if status != 200 || !strings.Contains(body, `{"_nodes":{"total":3,"successful":1,"failed":2,`) {
		t.Errorf("evict on the node that is cut off: %d %s", status, body)
	}
	if status, body = three.do("POST", "/", "", form, "Accept", "text/html"); status != 200 || !regexp.MustCompile("; not confirmed by (one, two|two, one)").MatchString(body) { // nodes are sorted by ID
		t.Errorf("evict on the page of the node that is cut off: %d %s", status, body)
	}

	// It comes back, and has missed nothing.
	three.conn.Heal()
	three.await(401, "", "GET", whoami, bearer)
	three.await(200, `"answers":true`, "GET", "/_stats", "")
	three.stop()
	two.await(200, fmt.Sprintf(`{"_nodes":{"total":2,"successful":2,"failed":0},"cluster_name":"svctoken","nodes":%s}`, nodes("one", "two")), "POST", tokens+"t1/_clear_cache", "")
	for _, line := range []string{`msg="the node serves"`, `msg="the node does not serve`} {
		if !strings.Contains(three.log.String(), line) {
			t.Errorf("no %s in the log:\n%s", line, three.log)
		}
	}
}

// TestFileTokens: the answer lists each node's file, or says that it is not known.
func TestFileTokens(t *testing.T) {
	log := fleettest.NewLog()
	one, two := startNode(t, log, "one", 0), startNode(t, log, "two", 0)
	for _, n := range []*node{one, two} {
		n.await(200, `"answers":true`, "GET", "/_stats", "")
	}
	log.Settle()
	const both = `"nodes_credentials":{"_nodes":{"failed":0,"successful":2,"total":2},"file_tokens":{"token1":{"nodes":["one","two"]},"token2":{"nodes":["one","two"]}}}`
	one.await(200, both, "GET", credential, "")
	two.await(200, both, "GET", credential, "")

	two.conn.Cut(true, true)
	body := one.await(200, `"_nodes":{"failed":1,"failures":[{"caused_by":{"reason":"`, "GET", credential, "")
	if !strings.Contains(body, `"successful":1,"total":2},"file_tokens":{"token1":{"nodes":["one"]},"token2":{"nodes":["one"]}}`) {
		t.Errorf("got %s", body)
	}
}
