package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestAPauseHoldsWhatHasFailed: rows that cannot be read, by errors or by panics, are paused,
// and no first use of another name, or of another account, is turned away.
func TestAPauseHoldsWhatHasFailed(t *testing.T) {
	for _, test := range []struct {
		name    string
		damaged []string
		panics  bool
	}{
		{"one name", []string{"evil/evil/damaged"}, false},
		{"one name that panics", []string{"evil/evil/damaged"}, true},
		{"one name of the account of the others", []string{"good/good/damaged"}, false},
		{"an account", []string{"evil/evil/a", "evil/evil/b", "evil/evil/c", "evil/evil/d", "evil/evil/e", "evil/evil/f"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := damagedSource(test.damaged, test.panics)
				c := solo(t, src, tokencache.Config{})
				stop := askAllTheTime(t, c, test.damaged)
				time.Sleep(3 * time.Second)
				for i := range 300 {
					token := mustToken(t, fmt.Sprintf("good/good/t%d", i), "supersecret")
					src.set(token)
					check(t, c, token, "ok")
					time.Sleep(7 * time.Millisecond)
				}
				stop()
				if got := c.Stats().Errors; got > uint64(200*len(test.damaged)) {
					t.Errorf("%d loads of the damaged tokens failed in five seconds, want the source left alone", got)
				}
			})
		})
	}
}

// damagedSource returns a source some of whose rows cannot be read.
func damagedSource(damaged []string, panics bool) *testSource {
	src := newTestSource()
	src.before = func(_ context.Context, id tokencache.TokenID) error {
		time.Sleep(time.Millisecond)
		switch {
		case !slices.Contains(damaged, id.String()):
			return nil
		case panics:
			panic("damaged")
		default:
			return errors.New("damaged")
		}
	}
	return src
}

// askAllTheTime asks for each of the names once a millisecond, each time with another
// secret, until stop is called.
func askAllTheTime(t *testing.T, c *tokencache.Cache[record], names []string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var askers sync.WaitGroup
	for i, name := range names {
		askers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				c.AuthenticateToken(t.Context(), mustToken(t, name, fmt.Sprintf("bad-secret-%d-%d", i, n)))
				time.Sleep(time.Millisecond)
			}
		})
	}
	return func() { cancel(); askers.Wait() }
}

// TestAnOutageOfOneAccount: a host with one account leaves a source alone that fails for
// all its names, and asks it one load at a time.
func TestAnOutageOfOneAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		var reads, running, most int
		src.before = func(context.Context, tokencache.TokenID) error {
			reads++
			running++
			most = max(most, running)
			time.Sleep(time.Millisecond)
			running--
			return errOutage
		}
		c := solo(t, src, tokencache.Config{})
		for i := range 6 {
			check(t, c, mustToken(t, fmt.Sprintf("only/one/first%d", i), "supersecret"), "error")
		}
		reads, most = 0, 0
		for i := range 10_000 { // in ten seconds
			for k := range 3 {
				async(t.Context(), c, mustToken(t, fmt.Sprintf("only/one/t%d-%d", i, k), "supersecret"))
			}
			time.Sleep(time.Millisecond)
		}
		if reads > 150 || reads < 5 || most > 1 {
			t.Errorf("the source was asked %d times in ten seconds, at most %d at once", reads, most)
		}
		src.before = nil
		time.Sleep(time.Second)
		for i := range 10 { // the first success ends it
			token := mustToken(t, fmt.Sprintf("only/one/back%d", i), "supersecret")
			src.set(token)
			check(t, c, token, "ok")
		}
	})
}

// TestASuccessEndsAPause: once a source has answered, one failure more does not pause it.
func TestASuccessEndsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		outage, reads := true, 0
		src.before = func(_ context.Context, id tokencache.TokenID) error {
			reads++
			if outage || id.Account.Namespace == "damaged" {
				return errors.New("damaged")
			}
			return nil
		}
		c := solo(t, src, tokencache.Config{})
		asked := func(account string) bool {
			token, before := mustToken(t, account+"/t", "supersecret"), reads
			src.set(token)
			c.AuthenticateToken(t.Context(), token)
			return reads > before
		}
		for i := range 20 {
			asked(fmt.Sprintf("out/a%d", i))
			time.Sleep(10 * time.Millisecond)
		}
		if asked("out/another") {
			t.Error("a source that fails for all is not left alone")
		}
		outage = false
		time.Sleep(time.Minute)
		if !asked("good/one") {
			t.Error("a source whose pause is over is not asked")
		}
		if !asked("damaged/one") || !asked("good/two") || !asked("good/three") {
			t.Error("a source that has answered is left alone after one failure more")
		}
	})
}
