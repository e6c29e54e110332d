package fleetsql

import "github.com/svctoken/svctoken/fleet/fleetlog"

// FollowedBy returns why a later sight is not of the same log, further on. A sight is a
// uuid, a server, a position and the id of the append there.
func FollowedBy(uuid, server string, rev fleetlog.Position, id, laterUUID, laterServer string, laterRev fleetlog.Position, before string) error {
	return sight{uuid, server, rev, id}.followedBy(sight{laterUUID, laterServer, laterRev, "later"}, before)
}
