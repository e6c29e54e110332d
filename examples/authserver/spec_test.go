package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/examples/authserver/servertest"
)

// Values in the public API specification's examples that belong to one machine, or to one
// day, and what each must look like.
var instance = map[string]*regexp.Regexp{
	"name":                            regexp.MustCompile(`^\S+$`),
	"cluster_name":                    regexp.MustCompile(`^\S+$`),
	"cluster_uuid":                    regexp.MustCompile(`^[\w-]{20,}$`),
	"version.build_date":              regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`),
	"version.build_hash":              regexp.MustCompile(`^[0-9a-f]{40}$`),
	"version.build_type":              regexp.MustCompile(`^(tar|docker)$`),
	"version.lucene_version":          regexp.MustCompile(`^\d+\.\d+\.\d+$`),
	"token.value":                     regexp.MustCompile(`^AAEAAWVsYXN0aW[A-Za-z0-9+/]{40,}$`),
	"status":                          regexp.MustCompile(`^(green|yellow|red)$`),
	"active_primary_shards":           regexp.MustCompile(`^0$`), // this server has no shards
	"active_shards":                   regexp.MustCompile(`^0$`),
	"unassigned_shards":               regexp.MustCompile(`^0$`),
	"active_shards_percent_as_number": regexp.MustCompile(`^100$`),
}

// TestSpecification compares whole bodies with the examples of the public API
// specification (elastic/elasticsearch-specification): they have the same fields, and the
// same values, except for values of one machine.
func TestSpecification(t *testing.T) {
	file := filepath.Join(t.TempDir(), "service_tokens")
	if err := os.WriteFile(file, []byte("elastic/fleet-server/my-token:{PBKDF2}1000$c2FsdHNhbHQ=$AAAAAAAAAAAAAAAAAAAAAA==\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := servertest.Start(t, "-admin", admin, "-service-tokens", file, "-es-version", "9.4.0", "-name", "node0")
	old := servertest.Start(t, "-admin", admin, "-service-tokens", file, "-es-version", "8.12.1")
	bearer := p.Create(route+"token_abcd1234", admin)
	for _, test := range []struct {
		from                      *servertest.Process
		method, path, credentials string
		want                      string
		more                      map[string]any // fields that the specification has and its example lacks
	}{
		{old, "GET", "/", admin, `{"name":"instance-0000000000","cluster_name":"my_test_cluster","cluster_uuid":"5QaxoN0pRZuOmWSxstBBwQ",
			"version":{"build_date":"2024-02-01T13:07:13.727175297Z","minimum_wire_compatibility_version":"7.17.0","build_hash":"6185ba65d27469afabc9bc951cded6c17c21e3f3",
			"number":"8.12.1","lucene_version":"9.9.2","minimum_index_compatibility_version":"7.0.0","build_flavor":"default","build_snapshot":false,"build_type":"docker"},
			"tagline":"You Know, for Search"}`, nil},
		{p, "GET", "/_security/_authenticate", bearer, `{"username":"elastic/fleet-server","roles":[],"full_name":"Service account - elastic/fleet-server","email":null,
			"metadata":{"_elastic_service_account":true},"enabled":true,"authentication_realm":{"name":"_service_account","type":"_service_account"},
			"lookup_realm":{"name":"_service_account","type":"_service_account"},"authentication_type":"token",
			"token":{"type":"_service_account_index","name":"token_abcd1234","managed_by":"elasticsearch"}}`, nil},
		{p, "POST", route + "token1", admin, `{"created":true,"token":{"name":"token1","value":"AAEAAWVsYXN0aWM...vZmxlZXQtc2VydmVyL3Rva2VuMTo3TFdaSDZ"}}`, nil},
		{p, "GET", credential, admin, `{"service_account":"elastic/fleet-server","count":3,"tokens":{"token1":{},"token_abcd1234":{}},
			"nodes_credentials":{"_nodes":{"total":1,"successful":1,"failed":0},"file_tokens":{"my-token":{"nodes":["node0"]}}}}`, nil},
		{p, "GET", "/_cluster/health", admin, `{"cluster_name":"testcluster","status":"yellow","timed_out":false,"number_of_nodes":1,"number_of_data_nodes":1,
			"active_primary_shards":1,"active_shards":1,"relocating_shards":0,"initializing_shards":0,"unassigned_shards":1,"delayed_unassigned_shards":0,
			"number_of_pending_tasks":0,"number_of_in_flight_fetch":0,"task_max_waiting_in_queue_millis":0,"active_shards_percent_as_number":50.0}`,
			map[string]any{"unassigned_primary_shards": 0.0}},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			status, body := test.from.Do(test.method, test.path, test.credentials)
			var want, got map[string]any
			for text, object := range map[string]*map[string]any{test.want: &want, body: &got} {
				if err := json.Unmarshal([]byte(text), object); err != nil {
					t.Fatalf("%v in %s", err, text)
				}
			}
			maps.Copy(want, test.more)
			takeInstance(t, "", want, got)
			if diff := cmp.Diff(want, got); status != 200 || diff != "" {
				t.Errorf("got %d, body (-specification +got):\n%s", status, diff)
			}
		})
	}
}

// takeInstance copies this machine's values from got to want, and checks their form.
func takeInstance(t *testing.T, prefix string, want, got map[string]any) {
	t.Helper()
	for name := range want {
		value, ok := got[name]
		if object, isObject := want[name].(map[string]any); isObject {
			if inner, ok := value.(map[string]any); ok {
				takeInstance(t, prefix+name+".", object, inner)
			}
			continue
		}
		pattern := instance[prefix+name]
		if pattern == nil || !ok {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil || !pattern.MatchString(strings.Trim(string(text), `"`)) {
			t.Errorf("%s%s: got %s, want %s", prefix, name, text, pattern)
		}
		want[name] = value
	}
}
