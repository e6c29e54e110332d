package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/internal/harness/e2e"
)

// A proxy says how to start a proxy: its program, its configuration, and the arguments
// that name it. {listen} and {auth} stand for addresses, {app} for that of an
// application, {dir} for a folder.
type proxy struct {
	program, config string
	args            []string
	files           map[string]string // further ones, by name
}

// Debian's proxies, each with the least configuration that passes requests on.
var proxies = map[string]proxy{
	"nginx": {
		program: "nginx", args: []string{"-e", "stderr", "-p", "{dir}", "-c", "{dir}/config"},
		config: nginxGlobal + `http { access_log off; ` + nginxTemp + ` server { listen {listen}; location / { proxy_pass http://{auth}; } } }`,
	},
	"HAProxy": {
		program: "haproxy", args: []string{"-db", "-f", "{dir}/config"},
		config: haproxyDefaults + `
frontend front
  bind {listen}
  default_backend back
backend back
  server one {auth}
`,
	},
	"Caddy": {
		program: "caddy", args: []string{"run", "--adapter", "caddyfile", "--config", "{dir}/config"},
		config: caddyGlobal + "http://{listen} {\n\treverse_proxy {auth}\n}\n",
	},
	"Apache": {
		program: "apache2", args: []string{"-d", "{dir}", "-f", "{dir}/config", "-D", "FOREGROUND"},
		config: `
ServerName localhost
PidFile {dir}/pid
ErrorLog /dev/stderr
Mutex fcntl:{dir}
Listen {listen}
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
AllowEncodedSlashes NoDecode
MergeSlashes Off
ProxyPass "/" "http://{auth}/" nocanon
`,
	},
}

const (
	nginxGlobal = "daemon off; pid {dir}/pid; events {}\n"
	nginxTemp   = `client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c; uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;`

	haproxyDefaults = `
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
`
	caddyGlobal = "{\n\tadmin off\n\tauto_https off\n}\n"
)

// startProxy starts a proxy before two servers, waits until it listens, and returns its
// URL. It ends with the test.
func startProxy(t *testing.T, p proxy, auth, app string) string {
	t.Helper()
	path := require(t, p.program, "/usr/sbin/"+p.program)
	for range 5 { // somebody else may take the port meanwhile
		if url := tryProxy(t, p, path, auth, app); url != "" {
			return url
		}
	}
	t.Fatalf("%s does not start", p.program)
	return ""
}

func tryProxy(t *testing.T, p proxy, path, auth, app string) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := listener.Addr().String()
	listener.Close()
	dir := t.TempDir()
	fill := strings.NewReplacer("{listen}", listen, "{auth}", strings.TrimPrefix(auth, "http://"), "{app}", strings.TrimPrefix(app, "http://"), "{dir}", dir)
	files := map[string]string{"config": p.config}
	maps.Copy(files, p.files)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var args []string
	for _, arg := range p.args {
		args = append(args, fill.Replace(arg))
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
	})
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			t.Logf("%s ended: %v\n%s", p.program, err, &output)
			return ""
		default:
		}
		if conn, err := net.Dial("tcp", listen); err == nil {
			conn.Close()
			return "http://" + listen
		}
	}
	return ""
}

// ask sends a request with the path exactly as it is spelt.
func ask(t *testing.T, method, url, path, bearer string, body io.Reader) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Opaque = "//" + r.URL.Host + path
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	} else {
		r.SetBasicAuth(e2e.Admin, e2e.AdminPassword)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// TestBehindProxies sends every spelling of the names through each proxy, and counts what
// stays of two tokens: 24 requests for each proxy.
func TestBehindProxies(t *testing.T) {
	const route = "/_security/service/elastic/fleet-server/credential/token/"
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			url := startProxy(t, p, s.URL, "")
			for path, left := range map[string]int{
				route + "token1/_clear_cache":          1,
				route + "token1,token2/_clear_cache":   0,
				route + "token1%2Ctoken2/_clear_cache": 0,
				route + "*/_clear_cache":               0,
				route + "%2A/_clear_cache":             0,
				route + "_all/_clear_cache":            0,
				route + "/_clear_cache":                0,
				route + "token2/_clear_cache/?pretty":  1,
			} {
				for _, bearer := range fileBearers {
					if resp, body := ask(t, "GET", url, "/_security/_authenticate", bearer, nil); resp.StatusCode != 200 {
						t.Fatalf("authenticate: got %s %s", resp.Status, body)
					}
				}
				if resp, body := ask(t, "POST", url, path, "", nil); resp.StatusCode != 200 || resp.Header.Get("X-Elastic-Product") != "Elasticsearch" {
					t.Errorf("%s: got %s %s", path, resp.Status, body)
				}
				entries(t, s, left)
			}
		})
	}
}

// Proxies that ask svctoken about each request before an application gets it, as
// docs/in-front.md shows them.
var inFront = map[string]proxy{
	"nginx": {
		program: "nginx", args: []string{"-e", "stderr", "-p", "{dir}", "-c", "{dir}/config"},
		config: nginxGlobal + `http { access_log off; ` + nginxTemp + ` server { listen {listen};
    location / {
        auth_request /_authenticate;
        auth_request_set $svctoken_user $upstream_http_x_svctoken_user;
        proxy_set_header X-Svctoken-User $svctoken_user;
        proxy_set_header Authorization "";
        proxy_pass http://{app};
    }
    location = /_authenticate {
        internal;
        proxy_pass http://{auth}/_security/_authenticate;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
    }
} }`,
	},
	"Caddy": {
		program: "caddy", args: []string{"run", "--adapter", "caddyfile", "--config", "{dir}/config"},
		config: caddyGlobal + `http://{listen} {
	forward_auth {auth} {
		uri /_security/_authenticate?
		copy_headers X-Svctoken-User
	}
	reverse_proxy {app} {
		header_up -Authorization
	}
}
`,
	},
	"HAProxy": {
		program: "haproxy", args: []string{"-db", "-f", "{dir}/config"},
		config: `
global
  lua-load {dir}/svctoken.lua
` + haproxyDefaults + `
frontend front
  bind {listen}
  http-request lua.svctoken
  http-request return status 401 hdr WWW-Authenticate 'Bearer realm="security"' if { var(txn.svctoken_status) -m int 401 }
  http-request deny deny_status 503 unless { var(txn.svctoken_status) -m int 200 }
  http-request set-header X-Svctoken-User %[var(txn.svctoken_user)]
  http-request del-header Authorization
  default_backend app
backend app
  server one {app}
`,
		files: map[string]string{"svctoken.lua": `
core.register_action("svctoken", {"http-req"}, function(txn)
  local sent = txn.http:req_get_headers()["authorization"]
  local answer = core.httpclient():get{
    url = "http://{auth}/_security/_authenticate",
    headers = { authorization = sent and { sent[0] } or {} },
    timeout = 5000,
  }
  txn:set_var("txn.svctoken_status", answer.status)
  local user = answer.headers and answer.headers["x-svctoken-user"]
  txn:set_var("txn.svctoken_user", user and user[0] or "")
end)
`},
	},
}

// TestInFront: each proxy lets requests with a good token through to an application,
// whatever their method, body and query. It tells the application whose they are, and
// never passes on what a client claims.
func TestInFront(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.URL.RequestURI(), r.Header.Values("X-Svctoken-User"), r.Header.Get("Authorization"), body)
	}))
	defer app.Close()
	for name, p := range inFront {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			url := startProxy(t, p, s.URL, app.URL)
			for _, test := range []struct {
				method, path, bearer, body string
				status                     int
				answer                     string
			}{
				{"GET", "/", fileBearers[0], "", 200, "GET / [elastic/fleet-server]"},
				{"GET", "/a/b?c=d&e", fileBearers[0], "", 200, "GET /a/b?c=d&e [elastic/fleet-server]"},
				{"POST", "/a?pretty", fileBearers[0], "a body", 200, "POST /a?pretty [elastic/fleet-server]  a body"},
				{"DELETE", "/_security/_authenticate", fileBearers[0], "", 200, "DELETE /_security/_authenticate [elastic/fleet-server]"},
				{"HEAD", "/a", fileBearers[0], "", 200, ""},
				{"GET", "/a", fileBearers[0][:len(fileBearers[0])-3] + "xxx", "", 401, ""},
				{"GET", "/a?b", "x", "", 401, ""},
			} {
				r, err := http.NewRequestWithContext(t.Context(), test.method, url+test.path, strings.NewReader(test.body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+test.bearer)
				r.Header.Set("X-Svctoken-User", "elastic/kibana") // a lie
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != test.status || test.status == 200 && strings.TrimSpace(string(body)) != test.answer {
					t.Errorf("%s %s: got %s %q, want %d %q", test.method, test.path, resp.Status, body, test.status, test.answer)
				}
				if test.status == 401 && resp.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s %s: got %v", test.method, test.path, resp.Header)
				}
			}
			s.Stop()
			r, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
			r.Header.Set("Authorization", "Bearer "+fileBearers[0])
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode < 500 {
				t.Errorf("without svctoken: got %s", resp.Status)
			}
		})
	}
}
