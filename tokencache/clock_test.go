package tokencache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestPausedProcess: the timer that notes the time is late, as after a pause of the
// process. What had more than a minute left is confirmed by a few hits at most, and
// what had less by none.
func TestPausedProcess(t *testing.T) {
	for _, test := range []struct {
		name string
		ttl  time.Duration
		most int
	}{
		{"much left", 10 * time.Minute, 16},
		{"little left", 50 * time.Second, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
				src := newTestSource(token)
				g := tokencache.NewGroup(tokencache.GroupConfig{})
				c := newCache(t, g, "test", src, tokencache.Config{TTL: test.ttl, Jitter: -1})
				check(t, c, token, "ok")
				src.remove(token.ID())
				tokencache.StopTicking(g)
				time.Sleep(test.ttl)
				confirmed := 0
				for confirmed <= test.most {
					if _, err := c.Authenticate(t.Context(), header(token)); err != nil {
						break
					}
					confirmed++
				}
				if confirmed > test.most {
					t.Errorf("confirmed more than %d times past its TTL", test.most)
				}
				check(t, c, token, "refused")
			})
		})
	}
}
