package sqlindex_test

import (
	"context"
	"errors"
	"testing"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
)

// TestUnconfirmed: a commit counts only if it was answered with success before its
// context had ended: PostgreSQL also answers with success when the wait for its standby
// was cancelled. A change that failed before its commit was sent has changed nothing, and
// its error says so.
func TestUnconfirmed(t *testing.T) {
	for _, test := range []struct {
		name        string
		fail        func(db *fake, cancel func())
		want        bool // an error
		unconfirmed bool
	}{
		{"done", func(*fake, func()) {}, false, false},
		{"the context ends during the commit", func(db *fake, cancel func()) { db.afterCommit = cancel }, true, true},
		{"the answer is lost", func(db *fake, _ func()) { db.commitErr = errors.New("connection reset") }, true, true},
		{"no connection", func(db *fake, _ func()) { db.err = failing(errOutage) }, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			db, ix := openFake(t, sqlindex.Config{})
			id, evictor := fleet.TokenID("token1"), ix.Evictor(tokencache.NewGroup(tokencache.GroupConfig{}))
			for name, do := range map[string]func(context.Context) error{
				"Create":        func(ctx context.Context) error { _, err := ix.Create(ctx, id, "me"); return err },
				"Rotate":        func(ctx context.Context) error { _, err := ix.Rotate(ctx, id, 0, "me"); return err },
				"SetEnabled":    func(ctx context.Context) error { return ix.SetEnabled(ctx, id, false) },
				"Delete":        func(ctx context.Context) error { return ix.Delete(ctx, id) },
				"Renew":         ix.Renew,
				"DeleteAccount": func(ctx context.Context) error { _, err := ix.DeleteAccount(ctx, fleet); return err },
				"Evict": func(ctx context.Context) error {
					_, err := evictor.Evict(ctx, "elastic", "fleet-server", "*")
					return err
				},
			} {
				ctx, cancel := context.WithCancel(t.Context())
				db.set(func() { test.fail(db, cancel) })
				err := do(ctx)
				cancel()
				if (err != nil) != test.want || errors.Is(err, sqlindex.ErrUnconfirmed) != test.unconfirmed {
					t.Errorf("%s: got %v; want an error: %t, unconfirmed: %t", name, err, test.want, test.unconfirmed)
				}
				db.set(func() { db.err, db.commitErr, db.afterCommit = nil, nil, nil })
			}
		})
	}
}
