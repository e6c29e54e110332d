package eck_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	commonv1 "github.com/elastic/cloud-on-k8s/v3/pkg/apis/common/v1"
	esv1 "github.com/elastic/cloud-on-k8s/v3/pkg/apis/elasticsearch/v1"
	kbv1 "github.com/elastic/cloud-on-k8s/v3/pkg/apis/kibana/v1"
	"github.com/elastic/cloud-on-k8s/v3/pkg/controller/association"
	"github.com/elastic/cloud-on-k8s/v3/pkg/controller/common/metadata"
	"github.com/elastic/cloud-on-k8s/v3/pkg/controller/common/version"
	esclient "github.com/elastic/cloud-on-k8s/v3/pkg/controller/elasticsearch/client"
	"github.com/elastic/cloud-on-k8s/v3/pkg/controller/elasticsearch/user"
	"github.com/elastic/cloud-on-k8s/v3/pkg/utils/k8s"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/svctoken/svctoken/internal/harness/e2e"
)

var builder = e2e.Builder{Root: "../../../.."}

func TestMain(m *testing.M) {
	code := m.Run()
	builder.Close()
	os.Exit(code)
}

// reconcile makes the operator create a token for Kibana, as it does when a Kibana is
// associated with an Elasticsearch, and returns the token as Kibana gets it, and the
// service_tokens file as Elasticsearch does.
func reconcile(t *testing.T) (bearer string, file []byte) {
	t.Helper()
	for _, add := range []func() error{
		func() error { return esv1.AddToScheme(clientgoscheme.Scheme) },
		func() error { return kbv1.AddToScheme(clientgoscheme.Scheme) },
	} {
		if err := add(); err != nil {
			t.Fatal(err)
		}
	}
	es := esv1.Elasticsearch{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: "logs"}}
	kibana := kbv1.Kibana{ObjectMeta: metav1.ObjectMeta{Namespace: "front", Name: "kibana", UID: "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"}}
	client := k8s.NewFakeClient(&es, &kibana)
	secret := types.NamespacedName{Namespace: "front", Name: "kibana-user"}
	err := association.ReconcileServiceAccounts(t.Context(), client, es, metadata.Metadata{}, secret,
		types.NamespacedName{Namespace: "search", Name: "kibana-user"}, commonv1.ServiceAccountName("kibana"), &kibana)
	if err != nil {
		t.Fatal(err)
	}
	var made corev1.Secret
	if err := client.Get(t.Context(), secret, &made); err != nil {
		t.Fatal(err)
	}
	tokens, err := user.GetServiceAccountTokens(client, es)
	if err != nil {
		t.Fatal(err)
	}
	return string(made.Data[association.ServiceAccountTokenValueField]), tokens.ToBytes()
}

const tokenName = "front_kibana_0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"

// TestOperator: the token works that the operator has made, the operator's client
// finds it among the credentials and clears its account's cache, and it is refused
// when the operator has taken it out of the file.
func TestOperator(t *testing.T) {
	bearer, file := reconcile(t)
	if decoded, err := base64.StdEncoding.DecodeString(bearer); err != nil || !strings.HasPrefix(string(decoded), "\x00\x01\x00\x01elastic/kibana/"+tokenName+":") {
		t.Fatalf("the operator has made another kind of token, %v", err)
	}
	path := filepath.Join(t.TempDir(), "service_tokens")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := builder.Start("-service-tokens", path, "-poll", "20ms")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)

	kibana := open(t, s, esclient.BasicAuth{})
	if got := status(t, kibana, "GET", "/_security/_authenticate", bearer); got != 200 {
		t.Errorf("got %d for the operator's token", got)
	}
	operator := open(t, s, esclient.BasicAuth{Name: e2e.Admin, Password: e2e.AdminPassword})
	info, err := operator.GetClusterInfo(t.Context())
	if err != nil || info.ClusterName != "svctoken" {
		t.Errorf("info: got %+v, %v", info, err)
	}
	credentials, err := operator.GetServiceAccountCredentials(t.Context(), "elastic/kibana")
	if err != nil || len(credentials.NodesCredentials.FileTokens[tokenName].Nodes) != 1 || len(credentials.Nodes()) != 1 {
		t.Errorf("credentials: got %+v, %v", credentials, err)
	}
	reader := open(t, s, esclient.BasicAuth{Name: e2e.Reader, Password: e2e.ReaderPassword})
	if _, err := reader.GetServiceAccountCredentials(t.Context(), "elastic/kibana"); !esclient.IsForbidden(err) {
		t.Errorf("credentials for one who may only look: got %v", err)
	}
	wrong := open(t, s, esclient.BasicAuth{Name: e2e.Admin, Password: "wrong"})
	if _, err := wrong.GetClusterInfo(t.Context()); !esclient.IsUnauthorized(err) {
		t.Errorf("info with a wrong password: got %v", err)
	}
	const route = "/_security/service/elastic/kibana/credential/token/"
	if got := status(t, operator, "POST", route+"*/_clear_cache", ""); got != 200 {
		t.Errorf("clear: got %d", got)
	}
	if entries, err := s.Entries(); err != nil || entries != 0 {
		t.Errorf("got %d entries, %v", entries, err)
	}

	if got := status(t, kibana, "GET", "/_security/_authenticate", bearer); got != 200 {
		t.Errorf("got %d after the clearing", got)
	}
	none := user.ServiceAccountTokens(nil)
	next := path + ".next"
	if err := os.WriteFile(next, none.ToBytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); status(t, kibana, "GET", "/_security/_authenticate", bearer) != 401; {
		if time.Now().After(deadline) {
			t.Fatal("the token still works after the operator has removed it")
		}
	}
}

// open returns the operator's client, which asks for 9.x as it would of a cluster.
func open(t *testing.T, s *e2e.Authserver, auth esclient.BasicAuth) esclient.Client {
	t.Helper()
	client := esclient.NewElasticsearchClient(nil, types.NamespacedName{Namespace: "search", Name: "logs"},
		esclient.NewStaticURLProvider(s.URL), auth, version.MustParse("9.5.2"), nil, nil, 10*time.Second, false)
	t.Cleanup(client.Close)
	return client
}

// status sends a request through the client, with a bearer if there is one, and
// returns the status of its answer.
func status(t *testing.T, client esclient.Client, method, path, bearer string) int {
	t.Helper()
	r, err := http.NewRequest(method, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := client.Request(t.Context(), r)
	if esclient.IsUnauthorized(err) { // the client makes errors of statuses
		return http.StatusUnauthorized
	}
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
