package fleettest_test

import (
	"testing"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleettest"
)

func TestMemory(t *testing.T) {
	fleettest.Suite(t, func(*testing.T) fleettest.Bench {
		log := fleettest.NewLog()
		return fleettest.Bench{
			Connect:  func(*testing.T) fleet.Engine { return log.Connect() },
			Cut:      func(e fleet.Engine) { e.(*fleettest.Conn).Cut(true, true) },
			Heal:     func(e fleet.Engine) { e.(*fleettest.Conn).Heal() },
			Recreate: log.Recreate,
			RollBack: func(meanwhile func()) {
				to := log.Last()
				meanwhile()
				log.RollBack(to)
			},
		}
	})
}
