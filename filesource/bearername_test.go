package filesource_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

// TestBearerAsAName: a bearer in the place of a name is refused when a token is created,
// and not repeated. A token that already has such a name is read, listed and deleted.
func TestBearerAsAName(t *testing.T) {
	t.Parallel() // it waits for most of the time
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("AAEAAWVsYXN0aWM")
	dir := t.TempDir()
	made, _ := open(t, filepath.Join(dir, "made"), filesource.Config{})
	token, err := made.Create(t.Context(), id.Account.TokenID("token1"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = made.Create(t.Context(), id)
	if _, ok := errors.AsType[*tokencache.NameError](err); !ok || strings.Contains(err.Error(), "AAEAAW") {
		t.Errorf("create: got %v", err)
	}
	text, err := os.ReadFile(made.Path())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "held")
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), token.ID().String(), id.String(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	held, _ := open(t, path, filesource.Config{})
	if got := held.List(); len(got) != 1 || got[0] != id {
		t.Errorf("list: got %v", got)
	}
	if err := held.Delete(t.Context(), id); err != nil {
		t.Errorf("delete: %v", err)
	}
}
