package tokencache

// A custody says who overwrites a load's secret: the caller for whom it was decoded, or
// the load, if it still uses the secret when that caller has gone. Guarded by the
// memory's mutex, except for the secret itself.
type custody struct {
	secret Secret
	over   bool // nothing of the load uses the secret any more
	left   bool // its decoder no longer needs it
}

// endLocked notes that nothing of the load uses the secret any more.
func (c *custody) endLocked() {
	c.over = true
	if c.left {
		clear(c.secret.bytes())
	}
}

// leaveLocked leaves the secret to the load, which overwrites it as soon as nothing
// uses it.
func (c *custody) leaveLocked() {
	c.left = true
	if c.over {
		clear(c.secret.bytes())
	}
}
