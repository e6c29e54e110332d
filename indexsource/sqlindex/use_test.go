package sqlindex_test

import (
	"database/sql/driver"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
)

// TestUsesAreTidied: the uses of tokens that no longer exist are removed with the first
// note, and with the first after a day.
func TestUsesAreTidied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, ix := openFake(t, sqlindex.Config{})
		for i, step := range []struct {
			wait time.Duration
			want bool
		}{{0, true}, {0, false}, {24*time.Hour - 1, false}, {1, true}, {time.Hour, false}, {23 * time.Hour, true}} {
			time.Sleep(step.wait)
			db.set(func() { db.asked = nil })
			if err := ix.NoteUses(t.Context(), map[tokencache.TokenID]time.Time{fleet.TokenID("token1"): time.UnixMilli(7)}); err != nil {
				t.Fatal(err)
			}
			if tidied := strings.Contains(strings.Join(db.asked, "\n"), "DELETE FROM svctoken_used"); tidied != step.want {
				t.Errorf("note %d removes uses: %t, want %t", i, tidied, step.want)
			}
			if !strings.HasSuffix(db.asked[0], ` | [["elastic","fleet-server","token1",7]]`) {
				t.Errorf("it notes %s", db.asked[0])
			}
		}
		if err := ix.NoteUses(t.Context(), nil); err != nil || !strings.HasSuffix(db.asked[len(db.asked)-1], " | []") {
			t.Errorf("no uses: it notes %q, %v", db.asked, err)
		}
	})
}

// TestEarlyUses: a use counts if it is dated up to two minutes before its token.
func TestEarlyUses(t *testing.T) {
	db, ix := openFake(t, sqlindex.Config{})
	db.set(func() { db.rows = [][]driver.Value{} })
	uses, err := ix.LastUses(t.Context(), fleet)
	if err != nil || uses == nil || len(uses) > 0 || !strings.HasSuffix(db.asked[0], "AND used >= created - $3 | elastic | fleet-server | 120000") {
		t.Errorf("got %v, %v, and it asked %q", uses, err, db.asked)
	}
}
