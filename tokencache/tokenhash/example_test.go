package tokenhash_test

import (
	"fmt"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// The library generates a secret, and a store of the host's keeps its hash.
func Example() {
	secret := tokencache.GenerateSecret()
	stored := tokenhash.New(secret).Reveal() // keep it out of logs

	hash, err := tokenhash.Parse(stored)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(hash, hash.Verify(secret), hash.Verify(tokencache.NewSecret("another")), hash.Fast())
	// Output: [redacted] true false true
}

// A person chose the secret: each guess must be expensive.
func ExampleStretched() {
	hash := tokenhash.Stretched(tokencache.NewSecret("correct horse battery"))
	fmt.Println(hash.Reveal()[:22], hash.Fast())
	// Output: {PBKDF2_STRETCH}10000$ false
}
