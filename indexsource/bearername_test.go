package indexsource_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// TestBearerAsAName: a bearer in the place of a name is refused when a token is created,
// and not repeated. A token that already has such a name can be listed and deleted.
func TestBearerAsAName(t *testing.T) {
	var index indexsource.Memory
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("AAEAAWVsYXN0aWM")
	_, err := index.Create(t.Context(), id, "me")
	if _, ok := errors.AsType[*tokencache.NameError](err); !ok || strings.Contains(err.Error(), "AAEAAW") {
		t.Errorf("create: got %v", err)
	}
	doc := indexsource.Document{Token: id, Created: time.Now(), Enabled: true, Hash: tokenhash.New(tokencache.GenerateSecret())}
	if err := index.Put(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
	if docs, err := index.List(t.Context(), id.Account); err != nil || len(docs) != 1 {
		t.Errorf("list: got %v, %v", docs, err)
	}
	if err := index.Delete(t.Context(), id); err != nil {
		t.Errorf("delete: %v", err)
	}
}
