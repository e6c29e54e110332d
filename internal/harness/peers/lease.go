package peers

import (
	"time"

	"github.com/svctoken/svctoken/internal/harness/peers/turns"
)

// Leases compares hits of a group that answers while it has a lease, as the nodes of
// a fleet do, with hits of one that needs none, and with a reading of the clock.
func Leases(rounds int) Comparison {
	without, with := NewHost(HostOptions{}), NewHost(HostOptions{})
	defer without.Group.Close()
	defer with.Group.Close()
	with.Group.Lease(time.Now().Add(time.Hour))
	return compare(turns.Thread, rounds, Hit("hit", without), Hit("hit with a lease", with),
		turns.Contestant{Name: "clock", Do: func(n int) {
			for range n {
				if time.Now().IsZero() { // so that the reading is not left out
					panic("the clock stands at its zero")
				}
			}
		}})
}
