package filesource

import "testing"

// TestWhatEditsKeep: an edit drops a signature, which is not one of the new text, and a
// file system's notes on its layers, which do not belong to the file.
func TestWhatEditsKeep(t *testing.T) {
	for name, want := range map[string]bool{
		"security.ima": false, "security.evm": false, "security.capability": false, "trusted.overlay.opaque": false,
		"security.selinux": true, "trusted.note": true, "user.note": true, "system.posix_acl_access": true, "system.nfs4_acl": true,
	} {
		if got := keptByEdits(name); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
