package tokencache

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strings"
)

// A query is one authentication on its way to an entry: the hash of the name, by
// which it is found, and the digest of the secret, which it must have.
//
// Both are taken of the bearer's base64 as it stands. Its first characters, the
// head, depend on nothing but the prefix, the qualified name and the colon; the
// others, the tail, on nothing but the secret and how long the name is. Canonical
// base64 is a bijection, so that comparing the characters compares what they stand
// for. A hit of a generated secret, whose length tells where the tail begins, then
// decodes no more than the token's name. Any other takes the long way, which takes
// half as long again (BenchmarkHit/live=1 and /secret=32).
type query struct {
	hash     uint32
	digested bool
	digest   digest

	qualified []byte // the name, decoded; nil: the query is a guess

	// Of a guess: the bearer, without padding, and where its tail begins if the
	// secret is as long as a generated one.
	bearer string
	cut    int
}

// minQualified is the length of the shortest qualified name, a/b/c.
const minQualified = 5

// headLen returns how many characters of base64 a qualified name of n bytes
// determines, with the prefix and the colon: the whole sextets of its bits.
func headLen(n int) int { return (len(bearerPrefix) + n + len(":")) * 8 / 6 }

// guess makes q the query for a bearer whose secret is as long as a generated one,
// or returns false for a bearer that cannot be such. It may be wrong: the first
// colon may be elsewhere, and the bearer no base64. What it finds is right all the
// same, as the entry's name, a colon and the digest of the rest account for every
// character of the bearer. What it does not find is decoded, and looked for again.
func (g *Group) guess(q *query, bearer string) bool {
	bearer, ok := trimPadding(bearer)
	n := len(bearer)*6/8 - len(bearerPrefix) - len(":") - generatedSecret
	if !ok || n < minQualified || !strings.HasPrefix(bearer, encodedPrefix) {
		return false
	}
	cut := headLen(n)
	q.hash = g.hash(bearer[:cut])
	q.bearer, q.cut = bearer, cut
	return true
}

// newQuery returns the query for a bearer, without padding, that has been decoded.
func (g *Group) newQuery(bearer string, qualified []byte) query {
	cut := headLen(len(qualified))
	q := query{hash: g.hash(bearer[:cut]), qualified: qualified, digested: true}
	digestTail(g, &q.digest, bearer[cut:])
	return q
}

// newTokenQuery returns the query for a token. The qualified name is written to buf,
// where it fits.
func (g *Group) newTokenQuery(token Token, buf []byte) query {
	plain := token.id.append(append(buf[:0], bearerPrefix...))
	qualified := plain[len(bearerPrefix):]
	plain = append(append(plain, ':'), token.secret.Reveal()...)
	var encoded [2 * stackBuffer]byte
	bearer := base64.RawStdEncoding.AppendEncode(encoded[:0], plain)
	cut := headLen(len(qualified))
	q := query{hash: uint32(maphash.Bytes(g.seed, bearer[:cut])), qualified: qualified, digested: true}
	digestTail(g, &q.digest, bearer[cut:])
	return q
}

// names reports whether the entry, whose hash is the query's, is of the query's
// name.
func (q *query) names(e *entry, g *Group) bool {
	if q.qualified != nil {
		return e.is(q.qualified)
	}
	return q.guessed(e, g)
}

// guessed reports whether the bearer begins with the name of the entry and a colon.
// It decodes what is behind the cell's head, by whole groups of four characters,
// and so up to two bytes of the secret.
//
// The digest is needed only now, and computed before the name is compared: the
// processor then does the two side by side, which saves 10 ns (BenchmarkHit).
func (q *query) guessed(e *entry, g *Group) bool {
	if !q.digested {
		digestTail(g, &q.digest, q.bearer[q.cut:])
		q.digested = true
	}
	c := e.cell
	if int(e.cut) != q.cut || q.bearer[:len(c.head)] != c.head {
		return false
	}
	var buf [64]byte
	groups := (len(c.rest) + len(e.name) + len(":") + 2) / 3
	encoded := q.bearer[len(c.head):]
	if len(encoded) < 4*groups || decodedLen(4*groups) > len(buf) {
		return false // a long name takes the long way
	}
	if _, ok := decodeBase64(buf[:], encoded[:4*groups]); !ok {
		return false
	}
	plain := buf[len(c.rest):]
	return string(buf[:len(c.rest)]) == c.rest && string(plain[:len(e.name)]) == e.name && plain[len(e.name)] == ':'
}

// A digest stands for a secret: SHA-256 over the group's key and the bearer's tail.
type digest [sha256.Size]byte

// equal compares in constant time, a word at a time: subtle.ConstantTimeCompare
// goes by bytes, and takes a fifth as long as the SHA-256.
func (d *digest) equal(other *digest) bool {
	var differ uint64
	for i := 0; i < len(d); i += 8 {
		differ |= binary.LittleEndian.Uint64(d[i:]) ^ binary.LittleEndian.Uint64(other[i:])
	}
	return differ == 0
}

// digestTail computes the digest of a tail. Up to 28 bytes of secret take a single
// block of SHA-256, and up to 34 no allocation.
func digestTail[text string | []byte](g *Group, d *digest, tail text) {
	var buf [64]byte
	if len(tail) > len(buf)-len(g.key) {
		*d = sha256.Sum256(slices.Concat(g.key[:], []byte(tail)))
		return
	}
	copy(buf[:], g.key[:])
	n := copy(buf[len(g.key):], tail)
	*d = sha256.Sum256(buf[:len(g.key)+n])
}

// hash returns the hash of a head, by which the tables are indexed.
func (g *Group) hash(head string) uint32 { return uint32(maphash.String(g.seed, head)) }

// hashID is hash for an id.
func (g *Group) hashID(id TokenID) uint32 {
	var buf, encoded [2 * stackBuffer]byte
	plain := id.append(append(buf[:0], bearerPrefix...))
	cut := headLen(len(plain) - len(bearerPrefix))
	head := base64.RawStdEncoding.AppendEncode(encoded[:0], append(plain, ':'))[:cut]
	return uint32(maphash.Bytes(g.seed, head))
}
