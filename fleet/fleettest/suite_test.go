package fleettest_test

import (
	"testing"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleettest"
)

func TestMemory(t *testing.T) {
	fleettest.Suite(t, func(*testing.T) fleettest.Bench {
		log := fleettest.NewLog()
		return fleettest.Bench{
			Connect:  func(*testing.T) fleetlog.Log { return log.Connect() },
			Cut:      func(e fleetlog.Log) { e.(*fleettest.Conn).Cut(true, true) },
			Heal:     func(e fleetlog.Log) { e.(*fleettest.Conn).Heal() },
			Recreate: log.Recreate,
			RollBack: func(meanwhile func()) {
				to := log.Last()
				meanwhile()
				log.RollBack(to)
			},
		}
	})
}
