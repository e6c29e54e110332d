package tokentest

import (
	"testing"
	"unsafe"

	"github.com/svctoken/svctoken/tokencache"
)

// TestKeptSecret: kept sees a secret that is kept, and no other.
func TestKeptSecret(t *testing.T) {
	if unsafe.Sizeof(tokencache.Secret{}) != unsafe.Sizeof(uintptr(0)) {
		t.Fatal("a Secret is not one function any more: see verified")
	}
	var last tokencache.Secret
	for range 10 {
		if kept(func(s tokencache.Secret) bool { return s.Len() > 0 }, "a secret of a kind") {
			t.Error("a secret that nothing keeps: got kept")
		}
		if !kept(func(s tokencache.Secret) bool { last = s; return true }, "a secret of a kind") {
			t.Error("a secret that is kept: got not kept")
		}
	}
	if last.Len() == 0 {
		t.Error("the secret has gone")
	}
}
