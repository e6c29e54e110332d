package e2e_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/esapi"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types"

	"github.com/svctoken/svctoken/internal/harness/e2e"
)

var builder = e2e.Builder{Root: "../../.."}

func TestMain(m *testing.M) {
	code := m.Run()
	builder.Close()
	os.Exit(code)
}

// start starts a server with the tokens token1 and token2 of elastic/fleet-server
// in its file.
func start(t *testing.T, args ...string) *e2e.Authserver {
	t.Helper()
	s, err := builder.Start(append(args, "-service-tokens", "../../../filesource/testdata/service_tokens")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// require skips the test if a program is missing, but not in CI.
func require(t *testing.T, programs ...string) string {
	t.Helper()
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("none of %v is installed", programs)
	}
	t.Skipf("none of %v is installed", programs)
	return ""
}

func entries(t *testing.T, s *e2e.Authserver, want int) {
	t.Helper()
	if got, err := s.Entries(); err != nil || got != want {
		t.Errorf("got %d entries, %v, want %d", got, err, want)
	}
}

const namespace, service = "elastic", "fleet-server"

var names = []string{"one", "two", "three"}

func admin(t *testing.T, s *e2e.Authserver) *elasticsearch.Client {
	t.Helper()
	client, err := elasticsearch.New(elasticsearch.WithAddresses(s.URL), elasticsearch.WithBasicAuth(e2e.Admin, e2e.AdminPassword))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func bearerClient(t *testing.T, s *e2e.Authserver, bearer string) *elasticsearch.Client {
	t.Helper()
	client, err := elasticsearch.New(elasticsearch.WithAddresses(s.URL), elasticsearch.WithServiceToken(bearer))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestGoClient goes through a token's life with the official Go client.
func TestGoClient(t *testing.T) {
	s := start(t)
	es := admin(t, s)
	// done decodes an answer, and checks its status.
	done := func(status int, out any) func(*esapi.Response, error) {
		return func(resp *esapi.Response, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != status {
				t.Errorf("got %s, want %d", resp, status)
			} else if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
				t.Error(err)
			}
		}
	}
	var info struct {
		Cluster string `json:"cluster_name"`
	}
	if done(200, &info)(es.Info()); info.Cluster != "svctoken" {
		t.Errorf("got cluster %q", info.Cluster)
	}

	bearers := make(map[string]string)
	for _, name := range names {
		var created struct {
			Created bool
			Token   struct{ Name, Value string }
		}
		done(200, &created)(es.Security.CreateServiceToken(namespace, service,
			es.Security.CreateServiceToken.WithName(name), es.Security.CreateServiceToken.WithRefresh("wait_for")))
		if !created.Created || created.Token.Name != name {
			t.Errorf("got %+v", created)
		}
		bearers[name] = created.Token.Value
	}
	var ignored map[string]any
	done(409, &ignored)(es.Security.CreateServiceToken(namespace, service, es.Security.CreateServiceToken.WithName("one")))

	authenticate := func() {
		t.Helper()
		for name, bearer := range bearers {
			var who struct {
				Username string
				Token    struct{ Name, Type string }
			}
			done(200, &who)(bearerClient(t, s, bearer).Security.Authenticate())
			if who.Username != "elastic/fleet-server" || who.Token.Name != name || who.Token.Type != "_service_account_index" {
				t.Errorf("got %+v", who)
			}
		}
		entries(t, s, len(bearers))
	}
	for _, test := range []struct {
		names []string
		left  int
	}{{[]string{"one"}, 2}, {[]string{"one", "three"}, 1}, {[]string{"*"}, 0}, {[]string{"nobody"}, 3}} {
		authenticate()
		var cleared struct {
			Stats struct{ Total, Successful, Failed int } `json:"_nodes"`
			Nodes map[string]struct{ Name string }
		}
		done(200, &cleared)(es.Security.ClearCachedServiceTokens(test.names, namespace, service))
		if cleared.Stats.Total != 1 || cleared.Stats.Successful != 1 || len(cleared.Nodes) != 1 {
			t.Errorf("clear %s: got %+v", test.names, cleared)
		}
		entries(t, s, test.left)
	}
	done(400, &ignored)(es.Security.ClearCachedServiceTokens([]string{"*", "a"}, namespace, service))

	var accounts map[string]any
	if done(200, &accounts)(es.Security.GetServiceAccounts()); len(accounts) != 4 || accounts["elastic/fleet-server"] == nil {
		t.Errorf("got %v", accounts)
	}
	var credentials struct {
		Tokens map[string]any
	}
	if done(200, &credentials)(es.Security.GetServiceCredentials(namespace, service)); len(credentials.Tokens) != len(bearers) {
		t.Errorf("got %v", credentials)
	}
	for name, bearer := range bearers {
		done(200, &ignored)(es.Security.DeleteServiceToken(name, namespace, service))
		done(404, &ignored)(es.Security.DeleteServiceToken(name, namespace, service))
		done(401, &ignored)(bearerClient(t, s, bearer).Security.Authenticate())
	}
	entries(t, s, 0)
}

// TestTypedClient is TestGoClient with the typed API, which reads the answers into
// types of its own.
func TestTypedClient(t *testing.T) {
	s := start(t)
	ctx := t.Context()
	es := elasticsearch.NewTypedFrom(admin(t, s))
	who := func(bearer string) (string, error) {
		resp, err := elasticsearch.NewTypedFrom(bearerClient(t, s, bearer)).Security.Authenticate().Do(ctx)
		if err != nil {
			return "", err
		}
		return resp.Username + "/" + *resp.Token.Name, nil
	}
	bearers := make(map[string]string)
	for _, name := range names {
		created, err := es.Security.CreateServiceToken(namespace, service).Name(name).Do(ctx)
		if err != nil || !created.Created || created.Token.Name != name {
			t.Fatalf("create: got %+v, %v", created, err)
		}
		bearers[name] = created.Token.Value
	}
	_, err := es.Security.CreateServiceToken(namespace, service).Name("one").Do(ctx)
	isStatus(t, err, http.StatusConflict, "version_conflict_engine_exception")

	for _, test := range []struct {
		names string
		left  int
	}{{"one", 2}, {"one,three", 1}, {"*", 0}} {
		for name, bearer := range bearers {
			if got, err := who(bearer); err != nil || got != "elastic/fleet-server/"+name {
				t.Errorf("authenticate: got %s, %v", got, err)
			}
		}
		cleared, err := es.Security.ClearCachedServiceTokens(namespace, service, test.names).Do(ctx)
		if err != nil || cleared.ClusterName != "svctoken" || cleared.NodeStats.Successful != 1 || len(cleared.Nodes) != 1 {
			t.Errorf("clear %s: got %+v, %v", test.names, cleared, err)
		}
		entries(t, s, test.left)
	}
	_, err = es.Security.ClearCachedServiceTokens(namespace, service, "_bad").Do(ctx)
	isStatus(t, err, http.StatusBadRequest, "illegal_argument_exception")

	accounts, err := es.Security.GetServiceAccounts().Namespace(namespace).Service("kibana").Do(ctx)
	if _, ok := accounts["elastic/kibana"]; err != nil || !ok || len(accounts) != 1 {
		t.Errorf("accounts: got %v, %v", accounts, err)
	}
	credentials, err := es.Security.GetServiceCredentials(namespace, service).Do(ctx)
	if err != nil {
		t.Fatal(err)
	}
	files := credentials.NodesCredentials.FileTokens
	if len(credentials.Tokens) != len(bearers) || credentials.Count != len(bearers)+len(files) || len(files["token1"].Nodes) != 1 {
		t.Errorf("credentials: got %+v", credentials)
	}
	for name, bearer := range bearers {
		if deleted, err := es.Security.DeleteServiceToken(namespace, service, name).Do(ctx); err != nil || !deleted.Found {
			t.Errorf("delete: got %v, %v", deleted, err)
		}
		_, err := who(bearer)
		isStatus(t, err, http.StatusUnauthorized, "security_exception")
	}
}

func isStatus(t *testing.T, err error, status int, kind string) {
	t.Helper()
	esErr, ok := errors.AsType[*types.ElasticsearchError](err)
	if !ok || esErr.Status != status || esErr.ErrorCause.Type != kind {
		t.Errorf("got %v, want %d %s", err, status, kind)
	}
}

// TestJavaScriptClients runs js/tokens.test.mjs, the same with the official clients
// for JavaScript.
func TestJavaScriptClients(t *testing.T) {
	node := require(t, "node")
	if _, err := os.Stat("js/node_modules"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("not installed: npm ci --prefix internal/harness/e2e/js")
		}
		t.Skip("not installed: npm ci --prefix internal/harness/e2e/js")
	}
	for name, module := range map[string]string{"9": "@elastic/elasticsearch", "8": "elasticsearch8", "7": "elasticsearch7"} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			cmd := exec.Command(node, "--test", "js/tokens.test.mjs")
			cmd.Env = append(os.Environ(), "CLIENT="+module, "AUTHSERVER_URL="+s.URL, "ADMIN_PASSWORD="+e2e.AdminPassword, "READER_PASSWORD="+e2e.ReaderPassword)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
