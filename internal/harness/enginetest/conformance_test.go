package enginetest

import (
	"context"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// TestConformance: the promises of every index, for changes that are made through the
// Index, and for changes by another process, once this one has polled.
func TestConformance(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		for _, test := range []struct {
			name    string
			another bool
		}{{"own changes", false}, {"another's changes", true}} {
			t.Run(test.name, func(t *testing.T) {
				tokentest.RunIndex(t, func(t testing.TB) (indexsource.Index, tokentest.Backend) {
					db := d.open(t)
					execSQL(t, db, "DELETE FROM svctoken_tokens")
					ix := d.index(t, db, sqlindex.Config{})
					by := ix
					if test.another {
						by = d.index(t, d.open(t), sqlindex.Config{})
					}
					return ix, backend(by, ix.Poll)
				})
			})
		}
	})
}

// backend makes changes through one index, and then polls the other one.
func backend(by *sqlindex.Index, poll func(context.Context) error) tokentest.Backend {
	after := func(ctx context.Context, err error) error {
		if err != nil {
			return err
		}
		return poll(ctx)
	}
	return tokentest.Backend{
		Create: func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
			token, err := by.Create(ctx, id, "operator")
			return token, after(ctx, err)
		},
		Delete: func(ctx context.Context, id tokencache.TokenID) error {
			return after(ctx, by.Delete(ctx, id))
		},
		Replace: func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
			token, err := by.Rotate(ctx, id, 0, "operator")
			return token, after(ctx, err)
		},
		Rotate: func(ctx context.Context, id tokencache.TokenID, grace time.Duration) (tokencache.Token, error) {
			token, err := by.Rotate(ctx, id, grace, "operator")
			return token, after(ctx, err)
		},
		SetEnabled: func(ctx context.Context, id tokencache.TokenID, enabled bool) error {
			return after(ctx, by.SetEnabled(ctx, id, enabled))
		},
	}
}
