package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/examples/authserver/servertest"
)

const (
	file1  = "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA" // token1 of fileTokens
	tokens = "../../filesource/testdata/service_tokens"
)

// raw sends a request as it is written, and returns the answer.
func raw(t *testing.T, p *servertest.Process, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%.100q: %v", request, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

const adminHeader = "Host: x\r\nConnection: close\r\nAuthorization: Basic YWRtaW46cGFzc3dvcmQ=\r\n\r\n"

// TestFixedPartsAreSpelt: a proxy that denies paths that begin with /_security denies
// everything that the server answers there.
func TestFixedPartsAreSpelt(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-service-tokens", tokens)
	p.Expect("POST", route+"kept", admin, 200, "")
	for _, path := range []string{
		"/_securit%79/_authenticate", "/%5Fsecurity/_authenticate", "/_security/%5fauthenticate", "/_securit%79/service", "/_SECURITY/_authenticate",
		"//_security/_authenticate", "/./_security/_authenticate", "/x/../_security/_authenticate", "/_security/./_authenticate", "/_security/_authenticate%2F",
		"/%5Fstats", "/_st%61ts", "/_cluster/%68ealth", "/_securit%79/service/elastic/fleet-server/credential",
		"/_securit%79/service/elastic/fleet-server/credential/token/kept", "/_security/servic%65/elastic/fleet-server/credential/token/kept",
		"/_security/service/elastic/fleet-server/credentia%6C/token/kept", "/_security/service/elastic/fleet-server/credential/toke%6E/kept",
		"/_securit%79/service/elastic/fleet-server/credential/token/kept/_clear_cache", "/_security/service/elastic/fleet-server/credential/token/kept/_clear%5Fcache",
		"/x" + route + "kept/_clear_cache", `/_securit%79/service/elastic/fleet-server/credential/token/kept"`,
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			if resp, body := raw(t, p, method+" "+path+" HTTP/1.1\r\n"+adminHeader); resp.StatusCode != 404 && resp.StatusCode != 400 {
				t.Errorf("%s %s: got %d %s", method, path, resp.StatusCode, body)
			}
		}
	}
	// Names are decoded.
	p.Expect("GET", "/_security/service/elasti%63/fleet%2Dserver/credential", admin, 200, `"kept":{}`)
	p.Expect("POST", "/_security/service/elasti%63/fleet%2Dserver/credential/token/k%65pt/_clear_cache", admin, 200, `"successful":1`)
	p.Expect("DELETE", route+"k%65pt", admin, 200, `{"found":true}`)
}

// TestUnusableCredentials: credentials that cannot be used are not called missing. They
// are logged by their kind, and only a readable name is shown.
func TestUnusableCredentials(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-service-tokens", tokens)
	short := base64.RawStdEncoding.EncodeToString([]byte("\x00\x01\x00\x01elastic/fleet-server/token1:short"))
	const named = "failed to authenticate service account [elastic/fleet-server] with token name [token1]"
	for _, test := range []struct{ authorization, contains string }{
		{"ApiKey c2VjcmV0LWlkOnNlY3JldC1rZXk=", `"additional_unsuccessful_credentials":"API key: `},
		{"Bearer not-a-token-at-all-secret", `"additional_unsuccessful_credentials":"oauth2 token: invalid token"`},
		{"Bearer " + file1[:20], `"additional_unsuccessful_credentials":"oauth2 token: invalid token"`},
		{"Digest username=secret", `"additional_unsuccessful_credentials":"authorization header: `},
		{"Basic secret!", `"additional_unsuccessful_credentials":"basic: `},
		{`Bearer "` + file1 + `"`, named},
		{"Bearer \ufeff" + file1, named},
		{"Bearer " + file1 + `\n`, named},
		{"Bearer " + short, named},
		{"Bearer " + file1[:len(file1)-1], named},
		{file1, named},
	} {
		resp, body := p.Send("GET", "/_security/_authenticate", "", nil, "Authorization", test.authorization)
		if resp.StatusCode != 401 || !strings.Contains(body, test.contains) || strings.Contains(body, "missing") || strings.Contains(body, "secret") {
			t.Errorf("%q: got %d %s, want %s", test.authorization, resp.StatusCode, body, test.contains)
		}
	}
	for range 2000 {
		p.Send("GET", "/_security/_authenticate", "", nil, "Authorization", "ApiKey c2VjcmV0")
	}
	log := p.Stop(syscall.SIGTERM)
	for _, kind := range []string{`kind="API key"`, "kind=bearer", `kind="damaged token"`, `kind="other scheme"`, `kind="damaged basic"`, `name=elastic/fleet-server/token1 from=127.0.0.1 failures=1 kind="service token"`} {
		if !strings.Contains(log, kind) {
			t.Errorf("the log lacks %s:\n%s", kind, log)
		}
	}
	if n := strings.Count(log, "login failed"); n > 12 || strings.Contains(log, "c2VjcmV0") || strings.Contains(log, "cnNlY3JldA") || strings.Contains(log, "secret") {
		t.Errorf("%d lines:\n%s", n, log)
	}
}

// TestTwoCredentials: a request with two Authorization headers is refused on each route.
func TestTwoCredentials(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-service-tokens", tokens)
	for _, second := range []string{"Basic YWRtaW46cGFzc3dvcmQ=", "Bearer " + file1, ""} {
		for _, request := range []string{"GET /_security/_authenticate", "POST " + route + "a/_clear_cache", "POST " + route + "a", "GET /", "POST /"} {
			resp, body := raw(t, p, request+" HTTP/1.1\r\nAuthorization: "+second+"\r\n"+adminHeader)
			if resp.StatusCode != 400 || !strings.Contains(body, "multiple values for single-valued header [Authorization]") {
				t.Errorf("%s, %.8s: got %d %s", request, second, resp.StatusCode, body)
			}
		}
	}
}

// TestFailedLoginsBehindAProxy: each name and each client behind a proxy is listed, and a
// client that invents names cannot push the others out.
func TestFailedLoginsBehindAProxy(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-trusted-proxies", "127.0.0.0/8,10.0.0.9")
	try := func(name, forwarded string) int {
		resp, _ := p.Send("GET", "/", name+":wrong", nil, "X-Forwarded-For", forwarded)
		return resp.StatusCode
	}
	try("admin", "192.0.2.1")
	try("admin", "203.0.113.7, 192.0.2.2")           // what stands before the last may be invented
	try("admin", "192.0.2.3, 10.0.0.9")              // a second proxy that is trusted
	try("admin", "not-an-address")                   // the proxy itself
	try("admin", "2001:db8:1:2:3:4:5:6")             // a client has a network of 64 bits
	try("admin", "2001:db8:1:2:ffff:ffff:ffff:ffff") // the same
	for i := range 300 {
		try(fmt.Sprintf("invented-user-%d", i), "198.51.100.1")
	}
	for i := range 30 { // by now, the address has no attempts left, and each other address has
		if status := try("admin", "198.51.100.1"); status != 429 {
			t.Errorf("%d: got %d", i, status)
		}
	}
	p.Expect("GET", "/", admin, 200, "")
	_, page := p.Send("GET", "/", admin, nil, "Accept", "text/html")
	for _, want := range []string{"192.0.2.1 admin 1", "192.0.2.2 admin 1", "192.0.2.3 admin 1", "127.0.0.1 admin 1", "2001:db8:1:2::/64 admin 2"} {
		if !strings.Contains(text(page), want) {
			t.Errorf("no %s in:\n%s", want, text(page))
		}
	}
	if strings.Contains(page, "203.0.113.7") || strings.Contains(page, "nvented") {
		t.Error("the page shows an address or a name that was invented")
	}
	log := p.Stop(syscall.SIGTERM)
	if n := strings.Count(log, "login failed"); n < 7 || n > 40 || strings.Contains(log, "invented") {
		t.Errorf("%d lines:\n%s", n, log)
	}
}

// TestGuesses: the number of guesses is limited. An address that guesses locks out no
// other address, and other users of its own address not for long.
func TestGuesses(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-reader", reader, "-trusted-proxies", "127.0.0.1")
	try := func(credentials, from string) *http.Response {
		resp, _ := p.Send("GET", "/", credentials, nil, "X-Forwarded-For", from)
		return resp
	}
	statuses := map[int]int{}
	for i := range 200 {
		resp := try(fmt.Sprintf("admin:guess%d", i), "192.0.2.1")
		statuses[resp.StatusCode]++
		if got := resp.Header.Get("Retry-After"); (resp.StatusCode == 429) != (got != "" && got != "0") {
			t.Errorf("got %d, Retry-After %q", resp.StatusCode, got)
		}
	}
	if statuses[401] < 10 || statuses[401] > 30 || statuses[401]+statuses[429] != 200 {
		t.Errorf("got %v", statuses)
	}
	for _, test := range []struct {
		credentials, from string
		want              int
	}{
		{admin, "192.0.2.1", 429}, // else a guess could be told
		{admin, "192.0.2.2", 200},
		{reader, "192.0.2.1", 200},
		{"", "192.0.2.1", 401},
	} {
		if got := try(test.credentials, test.from).StatusCode; got != test.want {
			t.Errorf("%v: got %d", test, got)
		}
	}
	// That holds for a route of the library, too; a service token is not a guess.
	r := p.URL + route + "a/_clear_cache"
	if resp, _ := p.Send("POST", strings.TrimPrefix(r, p.URL), "admin:guess", nil, "X-Forwarded-For", "192.0.2.1"); resp.StatusCode != 429 {
		t.Errorf("got %d", resp.StatusCode)
	}
	for range 150 {
		if got := try(file1, "192.0.2.3").StatusCode; got != 401 {
			t.Fatalf("got %d", got)
		}
	}
}

// fields returns the names of all fields of a JSON object.
func fields(t *testing.T, body, prefix string) []string {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &object); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(object)) {
		names = append(names, prefix+name)
		if object[name][0] == '{' {
			names = append(names, fields(t, string(object[name]), prefix+name+".")...)
		}
	}
	return names
}

// TestInfo: GET / has every field that the specification requires, and HEAD works.
func TestInfo(t *testing.T) {
	p := servertest.Start(t, "-admin", admin)
	_, body := p.Do("GET", "/", admin)
	want := []string{
		"cluster_name", "cluster_uuid", "name", "tagline", "version", "version.build_date", "version.build_flavor", "version.build_hash",
		"version.build_snapshot", "version.build_type", "version.lucene_version", "version.minimum_index_compatibility_version",
		"version.minimum_wire_compatibility_version", "version.number",
	}
	if diff := cmp.Diff(want, fields(t, body, "")); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	for _, part := range []string{`"tagline":"You Know, for Search"`, `"build_snapshot":false`, `"minimum_wire_compatibility_version":"8.19.0"`, `"minimum_index_compatibility_version":"8.0.0"`} {
		if !strings.Contains(body, part) {
			t.Errorf("no %s in %s", part, body)
		}
	}
}

// TestVersions: the server behaves like the version that it claims to be.
func TestVersions(t *testing.T) {
	for _, test := range []struct {
		version                      string
		managed, builtIn, connectors bool
	}{{"8.19.7", false, false, false}, {"9.3.0", false, false, true}, {"9.4.0", true, false, true}, {"9.6.0", true, true, true}, {"10.0.0", true, true, true}} {
		t.Run(test.version, func(t *testing.T) {
			p := servertest.Start(t, "-admin", admin, "-es-version", test.version, "-service-tokens", tokens)
			_, body := p.Do("GET", "/_security/_authenticate", file1)
			if got := strings.Contains(body, `"token":{"managed_by":"elasticsearch","name":"token1","type":"_service_account_file"}`); got != test.managed {
				t.Errorf("got %s", body)
			}
			_, body = p.Do("GET", "/_security/service/elastic/fleet-server", admin)
			if got := strings.Contains(body, `"type":"built_in"`); got != test.builtIn {
				t.Errorf("got %s", body)
			}
			if got := strings.Contains(body, `"cluster:admin/xpack/connector/*"`); got != test.connectors || strings.Contains(body, `".fleet-*"`) == test.connectors {
				t.Errorf("got %s", body)
			}
			for query, want := range map[string]string{
				"type=built_in": `"elastic/kibana"`, "managed_by=elastic,user": `"elastic/kibana"`, "type=user_managed": "{}", "type=other": "unknown value for type: [other]",
			} {
				status, body := p.Do("GET", "/_security/service?"+query, admin)
				if !test.builtIn {
					want = "contains unrecognized parameter"
				}
				if !strings.Contains(body, want) || (status == 200) != (test.builtIn && query != "type=other") {
					t.Errorf("%s: got %d %s", query, status, body)
				}
			}
		})
	}
}

// TestDefaultAccounts: they are Elasticsearch's.
func TestDefaultAccounts(t *testing.T) {
	p := servertest.Start(t, "-admin", admin)
	_, body := p.Do("GET", "/_security/service?filter_path=*.role_descriptor.cluster", admin)
	var accounts map[string]struct {
		Role struct{ Cluster []string } `json:"role_descriptor"`
	}
	if err := json.Unmarshal([]byte(body), &accounts); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"elastic/auto-ops", "elastic/fleet-server", "elastic/fleet-server-remote", "elastic/kibana"}, slices.Sorted(maps.Keys(accounts))); diff != "" {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"monitor", "manage_own_api_key", "read_fleet_secrets", "cluster:admin/xpack/connector/*"}, accounts["elastic/fleet-server"].Role.Cluster); diff != "" {
		t.Errorf("privileges (-want +got):\n%s", diff)
	}
}

// TestRunAs: a request to act as another user gets that user's rights, or none.
func TestRunAs(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-reader", reader, "-service-tokens", tokens)
	for _, test := range []struct {
		method, path, credentials, as string
		status                        int
		contains                      string
	}{
		{"GET", "/_security/_authenticate", admin, "reader", 200, `"username":"reader"`},
		{"GET", "/_stats", admin, "reader", 200, "caches"},
		{"POST", route + "a/_clear_cache", admin, "reader", 403, "is unauthorized for user [reader]"},
		{"POST", route + "a", admin, "reader", 403, "is unauthorized for user [reader]"},
		{"POST", route + "a", admin, "nobody", 403, "user [admin], which is unauthorized to run as [nobody]"},
		{"GET", "/_security/_authenticate", admin, "", 403, "unauthorized to run as []"},
		{"GET", "/_security/_authenticate", reader, "admin", 403, "user [reader], which is unauthorized to run as [admin]"},
		{"POST", route + "a/_clear_cache", reader, "admin", 403, "unauthorized to run as [admin]"},
		{"GET", "/_security/_authenticate", file1, "admin", 403, "service account [elastic/fleet-server], which is unauthorized to run as [admin]"},
		{"GET", "/_security/_authenticate", reader, "reader", 200, `"username":"reader"`},
		{"GET", "/_security/_authenticate", "admin:wrong", "reader", 401, "[admin]"},
	} {
		resp, body := p.Send(test.method, test.path, test.credentials, nil, "es-security-runas-user", test.as)
		if resp.StatusCode != test.status || !strings.Contains(body, test.contains) {
			t.Errorf("%s %s as %q: got %d %s, want %d %s", test.method, test.path, test.as, resp.StatusCode, body, test.status, test.contains)
		}
	}
}

// TestTrustedOrigins: behind a proxy that changes the host, a browser's form is refused
// with both names, unless the operator has named the page's origin.
func TestTrustedOrigins(t *testing.T) {
	form := url.Values{"account": {"elastic/fleet-server"}, "names": {"token1"}}
	p := servertest.Start(t, "-admin", admin)
	_, body := p.Send("POST", "/", admin, form, "Origin", "http://auth.example")
	if !strings.Contains(body, "from [http://auth.example], to ["+strings.TrimPrefix(p.URL, "http://")+"]") {
		t.Errorf("got %s", body)
	}
	p = servertest.Start(t, "-admin", admin, "-trusted-origins", "http://other.example, http://auth.example")
	for origin, want := range map[string]int{"http://auth.example": 303, "https://auth.example": 403, "http://evil.example": 403} {
		if resp, body := p.Send("POST", "/", admin, form, "Origin", origin); resp.StatusCode != want {
			t.Errorf("%s: got %d %s", origin, resp.StatusCode, body)
		}
	}
}

// TestHead: HEAD gets the answer of GET, without the body.
func TestHead(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-reader", reader, "-service-tokens", tokens)
	for _, test := range []struct{ path, credentials string }{
		{"/", admin}, {"/_security/_authenticate", admin}, {"/_security/_authenticate", file1}, {"/_security/service", admin}, {credential, admin},
		{"/_stats", admin}, {"/_cluster/health", admin}, {"/_security/_authenticate", ""}, {credential, reader}, {"/x", admin}, {"/_security/_authenticate?x", admin},
	} {
		got, _ := p.Do("GET", test.path, test.credentials)
		if status, body := p.Do("HEAD", test.path, test.credentials); status != got || body != "" {
			t.Errorf("%s: got %d %s, want %d", test.path, status, body, got)
		}
	}
}

// TestClusterHealth: the first question of health checks has an answer.
func TestClusterHealth(t *testing.T) {
	p := servertest.Start(t, "-admin", admin)
	status, body := p.Do("GET", "/_cluster/health?wait_for_status=yellow&timeout=30s", admin)
	want := []string{
		"active_primary_shards", "active_shards", "active_shards_percent_as_number", "cluster_name", "delayed_unassigned_shards", "initializing_shards",
		"number_of_data_nodes", "number_of_in_flight_fetch", "number_of_nodes", "number_of_pending_tasks", "relocating_shards", "status",
		"task_max_waiting_in_queue_millis", "timed_out", "unassigned_primary_shards", "unassigned_shards",
	}
	if diff := cmp.Diff(want, fields(t, body, "")); status != 200 || diff != "" {
		t.Errorf("got %d, fields (-want +got):\n%s", status, diff)
	}
	for query, want := range map[string]string{"": `"status":"green"`, "?wait_for_status=blue": "unknown cluster health status [blue]", "?timeout=soon": "[soon]", "?x": "unrecognized"} {
		if _, body := p.Do("GET", "/_cluster/health"+query, admin); !strings.Contains(body, want) {
			t.Errorf("%s: got %s", query, body)
		}
	}
	p.Expect("GET", "/_cluster/health", "", 401, "")
}

// TestSecretsAreNotCached: an answer that has a secret may not be stored.
func TestSecretsAreNotCached(t *testing.T) {
	p := servertest.Start(t, "-admin", admin)
	for _, request := range [][2]string{{"POST", route + "a"}, {"PUT", route + "b"}, {"POST", credential + "/token"}} {
		if resp, body := p.Send(request[0], request[1], admin, nil); resp.StatusCode != 200 || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: got %v %s", request[0], request[1], resp.Header, body)
		}
	}
}

// TestDeleteSeveral: the answer to a deletion that names several tokens says how to do
// it, and does not read as if there were none.
func TestDeleteSeveral(t *testing.T) {
	p := servertest.Start(t, "-admin", admin)
	for _, name := range []string{"*", "%2A", "a,b", "a%2Cb", "_all", "tok*", "a%3F"} {
		p.Expect("DELETE", route+name, admin, 400, "tokens are deleted one by one")
	}
	p.Expect("DELETE", route+"nobody", admin, 404, `{"found":false}`)
}

// TestBearerInEveryField: a bearer, or a password, in the wrong field is not repeated in
// an answer, on the page or in the log.
func TestBearerInEveryField(t *testing.T) {
	servertest.BearerInEveryField(t, servertest.Start(t, "-admin", admin, "-reader", reader, "-service-tokens", tokens), admin, reader)
}
