package e2e_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	elasticsearch8 "github.com/elastic/go-elasticsearch/v8"
	esapi8 "github.com/elastic/go-elasticsearch/v8/esapi"
	types8 "github.com/elastic/go-elasticsearch/v8/typedapi/types"

	"github.com/svctoken/svctoken/internal/harness/e2e"
)

func config8(url, bearer string) elasticsearch8.Config {
	return elasticsearch8.Config{Addresses: []string{url}, Username: e2e.Admin, Password: e2e.AdminPassword, ServiceToken: bearer}
}

type client8 struct{ es *elasticsearch8.Client }

func open8(t *testing.T, url, bearer string) client {
	t.Helper()
	es, err := elasticsearch8.NewClient(config8(url, bearer))
	if err != nil {
		t.Fatal(err)
	}
	return client8{es}
}

func read8(resp *esapi8.Response, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	return read(resp.StatusCode, resp.Body, nil)
}

func (c client8) info() (answer, error)         { return read8(c.es.Info()) }
func (c client8) authenticate() (answer, error) { return read8(c.es.Security.Authenticate()) }
func (c client8) create(name string) (answer, error) {
	return read8(c.es.Security.CreateServiceToken(namespace, service, c.es.Security.CreateServiceToken.WithName(name)))
}
func (c client8) clear(names ...string) (answer, error) {
	return read8(c.es.Security.ClearCachedServiceTokens(names, namespace, service))
}
func (c client8) remove(name string) (answer, error) {
	return read8(c.es.Security.DeleteServiceToken(name, namespace, service))
}

// A typed8 is the typed client of version 8, which reads each answer into a type of
// its own.
type typed8 struct {
	t  *testing.T
	es *elasticsearch8.TypedClient
}

func openTyped8(t *testing.T, url, bearer string) client {
	t.Helper()
	es, err := elasticsearch8.NewTypedClient(config8(url, bearer))
	if err != nil {
		t.Fatal(err)
	}
	return typed8{t, es}
}

// typed returns the answer as the client has understood it.
func typed(value any, err error) (answer, error) {
	status := 200
	if esErr, ok := errors.AsType[*types8.ElasticsearchError](err); ok {
		status, value = esErr.Status, esErr
	} else if err != nil {
		return answer{}, err
	}
	b, err := json.Marshal(value)
	return answer{status, string(b)}, err
}

func (c typed8) info() (answer, error) { return typed(c.es.Info().Do(c.t.Context())) }
func (c typed8) authenticate() (answer, error) {
	return typed(c.es.Security.Authenticate().Do(c.t.Context()))
}
func (c typed8) create(name string) (answer, error) {
	return typed(c.es.Security.CreateServiceToken(namespace, service).Name(name).Do(c.t.Context()))
}
func (c typed8) clear(names ...string) (answer, error) {
	return typed(c.es.Security.ClearCachedServiceTokens(namespace, service, strings.Join(names, ",")).Do(c.t.Context()))
}

// remove reports a missing token as other clients do: this client turns the status into
// an error, and drops the body.
func (c typed8) remove(name string) (answer, error) {
	a, err := typed(c.es.Security.DeleteServiceToken(namespace, service, name).Do(c.t.Context()))
	if a.status == 404 {
		a.body = `{"found":false}`
	}
	return a, err
}
