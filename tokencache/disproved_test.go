package tokencache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestDisprovedSecret: when the source refuses the secret that an entry confirms, the
// entry goes: it is neither served stale, nor for the rest of its time.
func TestDisprovedSecret(t *testing.T) {
	for name, cfg := range map[string]tokencache.Config{
		"stale":         {TTL: time.Minute, Jitter: -1, ServeStale: time.Hour, MaxBackoff: -1},
		"refresh ahead": {TTL: 3 * time.Minute, Jitter: -1, RefreshAhead: 2*time.Minute + 30*time.Second, MaxBackoff: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token, renewed := mustToken(t, "a/b/c", "supersecret"), mustToken(t, "a/b/c", "newer-secret")
				src := newTestSource(token)
				c := solo(t, src, cfg)
				check(t, c, token, "ok")
				src.set(renewed) // and the source does not tell
				time.Sleep(2 * time.Minute)
				c.AuthenticateToken(t.Context(), token) // asked again: before the answer, or after it
				synctest.Wait()
				if got := src.loadsOf(token.ID()); got != 2 {
					t.Fatalf("%d loads, want 2", got)
				}
				src.fail()
				check(t, c, token, "error")
			})
		})
	}
}
