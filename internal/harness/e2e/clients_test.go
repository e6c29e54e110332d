package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	elasticsearch7 "github.com/elastic/go-elasticsearch/v7"
	esapi7 "github.com/elastic/go-elasticsearch/v7/esapi"
	"github.com/olivere/elastic/v7"
	"github.com/opensearch-project/opensearch-go/v4"

	"github.com/svctoken/svctoken/internal/harness/e2e"
)

// A client sends the requests of a token's life, as its makers wrote it.
type client interface {
	info() (answer, error)
	authenticate() (answer, error)
	create(name string) (answer, error)
	clear(names ...string) (answer, error)
	remove(name string) (answer, error)
}

// An answer is a status and a body.
type answer struct {
	status int
	body   string
}

func read(status int, body io.ReadCloser, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	return answer{status, string(b)}, err
}

// TestOtherClients goes through a token's life with clients of earlier versions
// and with those of others.
func TestOtherClients(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, url, bearer string) client{
		"go-elasticsearch 7": open7, "go-elasticsearch 8": open8, "go-elasticsearch 8, typed": openTyped8,
		"opensearch-go": openOpenSearch, "olivere": openOlivere,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			life(t, s, func(bearer string) client { return open(t, s.URL, bearer) })
		})
	}
}

// life is what every client does.
func life(t *testing.T, s *e2e.Authserver, open func(bearer string) client) {
	t.Helper()
	expect := func(status int, part string) func(answer, error) answer {
		return func(a answer, err error) answer {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			if a.status != status || !strings.Contains(a.body, part) {
				t.Errorf("got %d %s, want %d %s", a.status, a.body, status, part)
			}
			return a
		}
	}
	operator := open("")
	expect(200, `"number":"9.5.2"`)(operator.info())
	var created struct{ Token struct{ Value string } }
	if err := json.Unmarshal([]byte(expect(200, `"created":true`)(operator.create("one")).body), &created); err != nil {
		t.Fatal(err)
	}
	expect(409, "version_conflict_engine_exception")(operator.create("one"))
	expect(400, "action_request_validation_exception")(operator.create("_one"))

	// As a service: who am I, and, as fleet-server asks at its start, which version is
	// that. A request without the privilege is 403.
	service := open(created.Token.Value)
	expect(200, `"username":"elastic/fleet-server"`)(service.authenticate())
	expect(200, `"number":"9.5.2"`)(service.info())
	expect(403, "security_exception")(service.clear("*"))
	expect(403, "security_exception")(service.create("two"))

	entries(t, s, 1)
	expect(200, `"successful":1`)(operator.clear("two", "three"))
	entries(t, s, 1)
	expect(200, `"successful":1`)(operator.clear("one", "two"))
	entries(t, s, 0)
	expect(200, `"_service_account_index"`)(service.authenticate())
	expect(200, `"successful":1`)(operator.clear("*"))
	entries(t, s, 0)
	expect(200, `{"found":true}`)(operator.remove("one"))
	expect(404, `{"found":false}`)(operator.remove("one"))
	expect(401, "failed to authenticate service account [elastic/fleet-server] with token name [one]")(service.authenticate())
}

type client7 struct{ es *elasticsearch7.Client }

func open7(t *testing.T, url, bearer string) client {
	t.Helper()
	es, err := elasticsearch7.NewClient(elasticsearch7.Config{Addresses: []string{url}, Username: e2e.Admin, Password: e2e.AdminPassword, ServiceToken: bearer})
	if err != nil {
		t.Fatal(err)
	}
	return client7{es}
}

func read7(resp *esapi7.Response, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	return read(resp.StatusCode, resp.Body, nil)
}

func (c client7) info() (answer, error)         { return read7(c.es.Info()) }
func (c client7) authenticate() (answer, error) { return read7(c.es.Security.Authenticate()) }
func (c client7) create(name string) (answer, error) {
	return read7(c.es.Security.CreateServiceToken(namespace, service, c.es.Security.CreateServiceToken.WithName(name)))
}
func (c client7) clear(names ...string) (answer, error) {
	return read7(c.es.Security.ClearCachedServiceTokens(names, namespace, service))
}
func (c client7) remove(name string) (answer, error) {
	return read7(c.es.Security.DeleteServiceToken(name, namespace, service))
}

// A plain client has no methods for tokens; it sends plain requests.
type plain func(method, path string) (answer, error)

const tokens = "/_security/service/" + namespace + "/" + service + "/credential/token/"

func (c plain) info() (answer, error)              { return c("GET", "/") }
func (c plain) authenticate() (answer, error)      { return c("GET", "/_security/_authenticate") }
func (c plain) create(name string) (answer, error) { return c("PUT", tokens+name) }
func (c plain) remove(name string) (answer, error) { return c("DELETE", tokens+name) }
func (c plain) clear(names ...string) (answer, error) {
	return c("POST", tokens+strings.Join(names, ",")+"/_clear_cache")
}

func bearerHeader(bearer string) http.Header {
	if bearer == "" {
		return nil
	}
	return http.Header{"Authorization": {"Bearer " + bearer}}
}

func openOpenSearch(t *testing.T, url, bearer string) client {
	t.Helper()
	cfg := opensearch.Config{Addresses: []string{url}, Header: bearerHeader(bearer)}
	if bearer == "" {
		cfg.Username, cfg.Password = e2e.Admin, e2e.AdminPassword
	}
	es, err := opensearch.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return plain(func(method, path string) (answer, error) {
		r, err := http.NewRequest(method, path, nil)
		if err != nil {
			return answer{}, err
		}
		//lint:ignore SA1019 its buffered answer is all that this test needs
		resp, err := es.Perform(r)
		if err != nil {
			return answer{}, err
		}
		return read(resp.StatusCode, resp.Body, nil)
	})
}

func openOlivere(t *testing.T, url, bearer string) client {
	t.Helper()
	options := []elastic.ClientOptionFunc{elastic.SetURL(url), elastic.SetSniff(false), elastic.SetHealthcheck(false)}
	if bearer == "" {
		options = append(options, elastic.SetBasicAuth(e2e.Admin, e2e.AdminPassword))
	} else {
		options = append(options, elastic.SetHeaders(bearerHeader(bearer)))
	}
	es, err := elastic.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	return plain(func(method, path string) (answer, error) {
		resp, err := es.PerformRequest(t.Context(), elastic.PerformRequestOptions{
			Method: method, Path: path, IgnoreErrors: []int{400, 401, 403, 404, 409},
		})
		if err != nil {
			return answer{}, fmt.Errorf("%s %s: %w", method, path, err)
		}
		return answer{resp.StatusCode, string(resp.Body)}, nil
	})
}

// TestFingerprint: official clients trust the self-signed certificate by the
// fingerprint that the server prints.
func TestFingerprint(t *testing.T) {
	s := start(t, "-tls-self-signed")
	es, err := elasticsearch7.NewClient(elasticsearch7.Config{
		Addresses: []string{s.URL}, Username: e2e.Admin, Password: e2e.AdminPassword, CertificateFingerprint: s.Fingerprint,
	})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := (client7{es}).info(); err != nil || a.status != 200 || !strings.HasPrefix(s.URL, "https://") {
		t.Errorf("got %v, %v from %s", a, err, s.URL)
	}
}
