package tokentest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// An index that answers with the document of another token.
type careless struct{ indexsource.Memory }

func (c *careless) Get(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	return c.Memory.Get(ctx, id.Account.TokenID("token1"))
}

// The conformance run of an index of one's own.
func ExampleRunIndex() {
	_ = func(t *testing.T) { // func TestCareless(t *testing.T) {
		tokentest.RunIndex(t, func(t testing.TB) (indexsource.Index, tokentest.Backend) {
			index := new(careless)
			return index, tokentest.Backend{
				Create: func(_ context.Context, id tokencache.TokenID) (tokencache.Token, error) {
					return index.Create(id, "operator")
				},
				Delete: func(_ context.Context, id tokencache.TokenID) error {
					if !index.Delete(id) {
						return fmt.Errorf("there is no %s", id)
					}
					return nil
				},
			}
		})
	}
}

func Example() {
	// An index of one's own is checked in a test of one's own, with RunIndex.
	fmt.Println("ok")
	// Output: ok
}
