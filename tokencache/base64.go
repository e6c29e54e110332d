package tokencache

// This file decodes base64 on the hit path. encoding/base64 takes longer for a
// bearer than everything else in a hit but the digest (BenchmarkDecode compares
// the two), and its strict mode still skips line breaks, which would give one
// token many spellings. A fuzz target holds the two against each other.

const badChar = 0x80

// sextet maps a character of the standard alphabet to its value, and every
// other byte to badChar.
var sextet = func() (t [256]byte) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range t {
		t[i] = badChar
	}
	for i := range len(alphabet) {
		t[alphabet[i]] = byte(i)
	}
	return t
}()

// decodedLen returns how long dst must be for n encoded characters.
func decodedLen(n int) int { return n/4*3 + 3 }

// decodeBase64 decodes standard-alphabet base64, with or without padding, and
// reports whether src was canonical: complete, without foreign characters, with
// zero bits after the end. dst must be at least decodedLen(len(src)) long.
func decodeBase64(dst []byte, src string) (n int, ok bool) {
	src, ok = trimPadding(src)
	if !ok {
		return 0, false
	}
	var bad byte
	for len(src) >= 4 && len(dst) >= 3 {
		a, b, c, d := sextet[src[0]], sextet[src[1]], sextet[src[2]], sextet[src[3]]
		bad |= a | b | c | d
		dst[0], dst[1], dst[2] = a<<2|b>>4, b<<4|c>>2, c<<6|d
		src, dst, n = src[4:], dst[3:], n+3
	}
	switch len(src) {
	case 0:
	case 2:
		a, b := sextet[src[0]], sextet[src[1]]
		if b&0x0f != 0 {
			return 0, false
		}
		bad |= a | b
		dst[0] = a<<2 | b>>4
		n++
	case 3:
		a, b, c := sextet[src[0]], sextet[src[1]], sextet[src[2]]
		if c&0x03 != 0 {
			return 0, false
		}
		bad |= a | b | c
		dst[0], dst[1] = a<<2|b>>4, b<<4|c>>2
		n += 2
	default:
		return 0, false
	}
	return n, bad&badChar == 0
}

// trimPadding removes the padding, which must complete the last group of four.
func trimPadding(src string) (string, bool) {
	end := len(src)
	for end > 0 && len(src)-end < 2 && src[end-1] == '=' {
		end--
	}
	if end < len(src) && len(src)%4 != 0 {
		return "", false
	}
	return src[:end], true
}
