package tokencache_test

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// BenchmarkHit asks what a hit costs, from the Authorization header's value to
// the verdict, with 1 000 live tokens. floor is what no cache that stores no
// plaintext can go below: one SHA-256 and one comparison.
func BenchmarkHit(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		var buf [16 + 22]byte
		var want [sha256.Size]byte
		b.ReportAllocs()
		for b.Loop() {
			sum := sha256.Sum256(buf[:])
			subtle.ConstantTimeCompare(sum[:], want[:])
		}
	})
	for _, live := range []int{1, 1000} {
		src := newTestSource()
		headers := make([]string, live)
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		newCache(b, g, "test", src, tokencache.Config{})
		for i := range headers {
			id := fleet.Token(fmt.Sprintf("token-%08d", i))
			token, _ := tokencache.NewToken(id, tokencache.GenerateSecret())
			src.set(token)
			headers[i] = header(token)
			if _, err := g.Authenticate(b.Context(), headers[i]); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := g.Authenticate(b.Context(), headers[i%live]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("parallel/live=%d", live), func(b *testing.B) {
			b.ReportAllocs()
			ctx := b.Context()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := g.Authenticate(ctx, headers[i%live]); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkDecode compares the hit path's base64 with the standard library's.
func BenchmarkDecode(b *testing.B) {
	src := mustToken(b, "elastic/fleet-server/token-00000001", "0123456789abcdef012345").RevealBearer()
	var dst [256]byte
	b.Run("own", func(b *testing.B) {
		for b.Loop() {
			tokencache.DecodeBase64(dst[:], src)
		}
	})
	b.Run("std", func(b *testing.B) {
		enc := base64.RawStdEncoding.Strict()
		for b.Loop() {
			enc.Decode(dst[:], []byte(src))
		}
	})
}
