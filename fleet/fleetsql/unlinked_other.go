//go:build !linux

package fleetsql

// holdsUnlinked cannot tell on this system; see docs/fleet-operations.md.
func holdsUnlinked(string) bool { return false }
