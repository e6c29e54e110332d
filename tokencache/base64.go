package tokencache

import "encoding/binary"

// This file decodes base64 on the hit path. encoding/base64 takes longer for a
// bearer than everything else in a hit but the digest (BenchmarkDecode compares
// the two), and its strict mode still skips line breaks, which would give one
// token many spellings. A fuzz target holds the two against each other.

// sextets maps a character of the standard alphabet to its value, in the place
// that it has in a group of four: sextets[0] in bits 26 to 31 of a word, and so on.
// Every other byte maps to badChar, a bit below all of them. Four lookups and three
// ORs then decode a group, and one more OR collects the bad ones (BenchmarkDecode).
var sextets = func() (t [4][256]uint32) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for place := range t {
		for i := range t[place] {
			t[place][i] = badChar
		}
		for i := range len(alphabet) {
			t[place][alphabet[i]] = uint32(i) << (26 - 6*place)
		}
	}
	return t
}()

const badChar = 1

// decodedLen returns how long dst must be for n encoded characters: two groups are
// written as a word, of which the next ones overwrite the last two bytes.
func decodedLen(n int) int { return n/4*3 + 8 }

// decodeBase64 decodes standard-alphabet base64, with or without padding, and
// reports whether src was canonical: complete, without foreign characters, with
// zero bits after the end. dst must be at least decodedLen(len(src)) long.
func decodeBase64(dst []byte, src string) (n int, ok bool) {
	src, ok = trimPadding(src)
	if !ok {
		return 0, false
	}
	var bad uint32
	for len(src) >= 8 && len(dst) >= 8 {
		first := sextets[0][src[0]] | sextets[1][src[1]] | sextets[2][src[2]] | sextets[3][src[3]]
		second := sextets[0][src[4]] | sextets[1][src[5]] | sextets[2][src[6]] | sextets[3][src[7]]
		bad |= first | second
		binary.BigEndian.PutUint64(dst, uint64(first&^badChar)<<32|uint64(second)<<8)
		src, dst, n = src[8:], dst[6:], n+6
	}
	if len(src) >= 4 {
		word := sextets[0][src[0]] | sextets[1][src[1]] | sextets[2][src[2]] | sextets[3][src[3]]
		bad |= word
		binary.BigEndian.PutUint32(dst, word)
		src, dst, n = src[4:], dst[3:], n+3
	}
	switch len(src) {
	case 0:
	case 2:
		word := sextets[0][src[0]] | sextets[1][src[1]]
		if word<<8 != 0 && word&badChar == 0 {
			return 0, false
		}
		bad |= word
		dst[0] = byte(word >> 24)
		n++
	case 3:
		word := sextets[0][src[0]] | sextets[1][src[1]] | sextets[2][src[2]]
		if word<<16 != 0 && word&badChar == 0 {
			return 0, false
		}
		bad |= word
		dst[0], dst[1] = byte(word>>24), byte(word>>16)
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
