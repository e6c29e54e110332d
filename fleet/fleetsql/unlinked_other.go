//go:build !linux

package fleetsql

// holdsUnlinked cannot tell on this system; see docs/fleet.md.
func holdsUnlinked(string) bool { return false }
