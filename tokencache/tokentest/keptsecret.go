package tokentest

import (
	"runtime"
	"strings"
	"unsafe"
	"weak"

	"github.com/svctoken/svctoken/tokencache"
)

// checkKeptSecret: when Verify has returned, nothing refers to the Secret any more. The
// cache overwrites its bytes, also if something still reads them.
func checkKeptSecret(s *subject) {
	const rounds = 20 // a secret that is kept only for a moment is seen in some of them
	token := s.create(kinds[0])
	verify := s.lookup(token.ID()).Verify
	if verify == nil {
		s.Skip("the source does not verify secrets itself")
	}
	if kept(func(tokencache.Secret) bool { return false }, "control") {
		s.Skip("this build keeps secrets by itself")
	}
	right := token.Secret().Reveal()
	for i := range rounds {
		secret := right
		if i%2 == 1 {
			secret = strings.ToUpper(right) + "x"
		}
		if kept(verify, secret) {
			s.Fatalf("Verify kept the Secret that it was given: it must use it before it returns, and keep no reference to it")
		}
	}
}

// kept reports whether anything refers to a secret after its verification.
func kept(verify func(tokencache.Secret) bool, secret string) bool {
	reference := verified(verify, secret)
	runtime.GC()
	return reference.Value() != nil
}

// verified verifies a secret, and returns a reference to it that does not count. It
// has a frame of its own, where the secret ends.
//
//go:noinline
func verified(verify func(tokencache.Secret) bool, text string) weak.Pointer[byte] {
	secret := tokencache.NewSecret(text)
	// A Secret is one function, and a function value a pointer to what it captures.
	// TestKeptSecret notices if that changes.
	reference := weak.Make(*(**byte)(unsafe.Pointer(&secret)))
	verify(secret)
	return reference
}
