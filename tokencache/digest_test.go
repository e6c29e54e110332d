package tokencache_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// TestDigestsAreSHA256: for tails of every length, with the sum read from the hash's
// state, and without.
func TestDigestsAreSHA256(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	key := tokencache.KeyOf(g)
	for _, name := range []string{"a", "aa", "aaa"} { // the tail begins at another bit of the secret
		for n := 10; n <= 200; n++ {
			token := mustToken(t, "a/a/"+name, strings.Repeat("s", n-1)+"!")
			encoded := strings.TrimRight(base64.StdEncoding.EncodeToString([]byte("\x00\x01\x00\x01a/a/"+name+":"+token.Secret().Reveal())), "=")
			head := (len("\x00\x01\x00\x01a/a/:") + len(name)) * 8 / 6
			want := sha256.Sum256([]byte(key + encoded[head:]))
			tokencache.WithoutState(func() {
				if got := tokencache.DigestOf(g, token); !bytes.Equal(got[:], want[:len(got)]) {
					t.Errorf("a secret of %d bytes, by Sum256: %x, want %x", n, got, want)
				}
			})
			if got := tokencache.DigestOf(g, token); !bytes.Equal(got[:], want[:len(got)]) {
				t.Errorf("a secret of %d bytes: %x, want %x", n, got, want)
			}
		}
	}
	if !tokencache.StateHasSum {
		t.Error("the marshaled state of this crypto/sha256 does not have the sum at the expected place: hits take longer")
	}
}

// TestDigestLeavesNothing: what was digested is overwritten.
func TestDigestLeavesNothing(t *testing.T) {
	for n := range 120 {
		if left := tokencache.LeftByDigest(bytes.Repeat([]byte("s"), n)); bytes.Contains(left, []byte("sss")) {
			t.Errorf("of %d bytes there are left: %q", n, left)
		}
	}
}

func TestDigestsAreKeyed(t *testing.T) {
	token := mustToken(t, "a/a/a", "supersecret")
	g, h := tokencache.NewGroup(tokencache.GroupConfig{}), tokencache.NewGroup(tokencache.GroupConfig{})
	first, again, other := tokencache.DigestOf(g, token), tokencache.DigestOf(g, token), tokencache.DigestOf(h, token)
	if first != again || first == other {
		t.Error("the digest does not depend on the group's key alone")
	}
}

func TestDigestsAreComparedInFull(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	a := tokencache.DigestOf(g, mustToken(t, "a/a/a", "supersecret"))
	for i := range a {
		for bit := range 8 {
			b := a
			b[i] ^= 1 << bit
			if tokencache.EqualDigests(a, b) {
				t.Errorf("bit %d of byte %d is not compared", bit, i)
			}
		}
	}
	if !tokencache.EqualDigests(a, a) {
		t.Error("a digest is not equal to itself")
	}
}
