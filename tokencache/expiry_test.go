package tokencache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestExpiredBeforeTheMutex: a load has read a token that expires before the load gets
// the mutex. A caller that comes after the expiry, and gets the mutex first, joins the
// load and is refused. The end of a previous secret does not end the present one.
func TestExpiredBeforeTheMutex(t *testing.T) {
	present := mustToken(t, "a/b/c", "present-secret")
	for name, answer := range map[string]tokencache.Answer[record]{
		"Verify": {Verify: func(tokencache.Secret) bool { return true }},
		"Fast":   {Verify: func(tokencache.Secret) bool { return true }, Fast: true},
		"Ask":    {Ask: func(context.Context, tokencache.Secret) (bool, error) { return true, nil }},
		"previous": {Fast: true, Verify: present.Secret().Equal, Previous: struct {
			Verify  func(tokencache.Secret) bool
			Expires time.Time
		}{Verify: func(tokencache.Secret) bool { return true }}},
	} {
		t.Run(name, func(t *testing.T) {
			token := mustToken(t, "a/b/c", "supersecret")
			reading, gate := make(chan struct{}, 2), newGate()
			var expires time.Time // written before the gate opens
			src := asked(func(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
				reading <- struct{}{}
				err := gate.pass(ctx, id)
				a := answer
				a.Held = true
				if name == "previous" {
					a.Previous.Expires = expires
				} else {
					a.Expires = expires
				}
				return a, err
			})
			c := solo(t, src, tokencache.Config{})
			first := async(t.Context(), c, token)
			<-reading
			_, err := tokencache.AuthenticateUnderMutex(c, token, func() {
				expires = time.Now().Add(50 * time.Millisecond)
				close(gate.open)
				<-time.After(time.Until(expires) + time.Millisecond)
			})
			if outcome(err) != "refused" {
				t.Errorf("a caller that came after the expiry got %v", err)
			}
			<-first
			check(t, c, token, "refused")
			if name == "previous" {
				check(t, c, present, "ok")
			}
		})
	}
}

// TestExpiryMovedWhileALoadRuns: a load has read a token that has expired meanwhile. A
// caller that comes now does not join it, but asks anew: the expiry may have been moved.
func TestExpiryMovedWhileALoadRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, reads := mustToken(t, "a/b/c", "supersecret"), 0
		src := asked(func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) {
			reads++
			if reads > 1 {
				return tokencache.Answer[record]{Held: true, Verify: func(tokencache.Secret) bool { return true }}, nil
			}
			return tokencache.Answer[record]{Held: true, Expires: time.Now().Add(5 * time.Second), Verify: func(tokencache.Secret) bool {
				time.Sleep(7 * time.Second)
				return true
			}}, nil
		})
		c := solo(t, src, tokencache.Config{})
		first := async(t.Context(), c, token)
		time.Sleep(6 * time.Second)
		check(t, c, token, "ok")
		expect(t, first, nil)
		if reads != 2 {
			t.Errorf("%d reads, want 2", reads)
		}
	})
}

// TestExpiryMovedWhileItPasses: a source reads a token, which is evicted as its expiry is
// moved, and hands it out once the old expiry has passed. The secret is good all the while,
// and nobody is refused.
func TestExpiryMovedWhileItPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, reads := mustToken(t, "a/b/c", "supersecret"), 0
		src := asked(func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) {
			answer := tokencache.Answer[record]{Held: true, Verify: func(tokencache.Secret) bool { return true }}
			if reads++; reads == 1 {
				answer.Expires = time.Now().Add(5 * time.Second)
				time.Sleep(7 * time.Second)
			}
			return answer, nil
		})
		c := solo(t, src, tokencache.Config{})
		first := async(t.Context(), c, token)
		time.Sleep(time.Second)
		c.Evict(t.Context(), tokencache.CauseSource, named(t, token.ID().Account, token.ID().Name))
		expect(t, first, nil)
		if reads != 2 {
			t.Errorf("%d reads, want 2", reads)
		}
	})
}

// TestGraceEndsWhileALoadHashes: a load computes the hash of a previous secret, whose
// grace ends meanwhile. A caller that came before is confirmed; one that comes after it,
// and joins the load, is not.
func TestGraceEndsWhileALoadHashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "a/b/c", "previous-secret")
		answer := tokencache.Answer[record]{Held: true, Verify: func(tokencache.Secret) bool { time.Sleep(7 * time.Second); return false }}
		answer.Previous.Verify = token.Secret().Equal
		answer.Previous.Expires = time.Now().Add(5 * time.Second)
		src := asked(func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) { return answer, nil })
		c := solo(t, src, tokencache.Config{})
		first := async(t.Context(), c, token)
		time.Sleep(6 * time.Second)
		if _, err := c.AuthenticateToken(t.Context(), token); reasonOf(err) != tokencache.ReasonWrongSecret {
			t.Errorf("got %v, want a wrong secret: its grace had ended before the call", err)
		}
		expect(t, first, nil)
	})
}
