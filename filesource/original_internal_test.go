package filesource

import "testing"

// TestWhatEditsKeep: a signature of the text is no signature of the new text, and what a file
// system notes of its layers is no attribute of the file.
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
