package fleet_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/tokencache"
)

// TestUses: the later use of a token counts, whichever node has noted it, and no cache is
// cleared.
func TestUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, b := pair(t)
		ctx, t0, t1 := t.Context(), account.TokenID("t0"), account.TokenID("t1")
		other := tokencache.Account{Namespace: "elastic", Service: "kibana"}.TokenID("t0")
		at := func(s int) time.Time { return time.Unix(1_800_000_000+int64(s), 0) }
		for _, err := range []error{
			a.Index().NoteUses(ctx, map[tokencache.TokenID]time.Time{t0: at(10), t1: at(20), other: at(5)}),
			b.Index().NoteUses(ctx, map[tokencache.TokenID]time.Time{t0: at(9), t1: at(21).Add(time.Millisecond)}),
			a.Index().NoteUses(ctx, map[tokencache.TokenID]time.Time{t0: at(10)}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		last := log.Last()
		if err := b.Index().NoteUses(ctx, map[tokencache.TokenID]time.Time{t0: at(1)}); err != nil || log.Last() != last {
			t.Errorf("an earlier use: %v, and the log has %d more messages", err, log.Last()-last)
		}
		got, err := b.Index().LastUses(ctx, account)
		if diff := cmp.Diff(map[string]time.Time{"t0": at(10), "t1": at(21)}, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		synctest.Wait()
		if calls := append(a.caches.take(), b.caches.take()...); len(calls) > 0 {
			t.Errorf("the caches were told %q", calls)
		}
		if _, err := b.Index().LastUses(ctx, tokencache.Account{}); err == nil {
			t.Error("the uses of no account")
		}
		if got, err := b.Index().LastUses(ctx, tokencache.Account{Namespace: "elastic", Service: "x"}); len(got) > 0 || err != nil {
			t.Errorf("of an account without uses: %v, %v", got, err)
		}
		if _, err := log.Connect().Append(ctx, fleetlog.Entry{Key: "note.used.elastic.fleet-server", ID: "x", Value: []byte("null")}); err != nil {
			t.Fatal(err)
		}
		many := make(map[tokencache.TokenID]time.Time)
		for i := range 10_010 {
			many[account.TokenID(fmt.Sprint("t", i))] = at(i)
		}
		if err := a.Index().NoteUses(ctx, many); err != nil {
			t.Fatal(err)
		}
		got, err = a.Index().LastUses(ctx, account)
		if _, oldest := got["t9"]; err != nil || len(got) != 10_000 || oldest || !got["t10"].Equal(at(10)) {
			t.Errorf("of 10 010 tokens %d are known, %v", len(got), err)
		}
	})
}
