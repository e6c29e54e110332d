package tokencache

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
)

// A digest stands for a secret: the first 160 bits of the SHA-256 over the group's
// key and the bearer's tail.
type digest [20]byte

// equal compares in constant time, a word at a time: subtle.ConstantTimeCompare
// goes by bytes, and takes a fifth as long as the SHA-256.
func (d *digest) equal(other *digest) bool {
	differ := binary.LittleEndian.Uint64(d[:]) ^ binary.LittleEndian.Uint64(other[:])
	differ |= binary.LittleEndian.Uint64(d[8:]) ^ binary.LittleEndian.Uint64(other[8:])
	differ |= uint64(binary.LittleEndian.Uint32(d[16:]) ^ binary.LittleEndian.Uint32(other[16:]))
	return differ == 0
}

// digestTail computes the digest of a tail. It allocates nothing for secrets of up
// to 80 bytes.
//
// Of the time of sha256.Sum256, a third or more goes into padding and copies. So a tail
// that fits two blocks is padded here, as FIPS 180-4 says in 5.1.1, and the sum is read
// from the marshaled state.
func (k *keys) digestTail(d *digest, tail string) {
	size := keyLen + len(tail)
	if size > maxPadded {
		message := append(append(make([]byte, 0, size), k.key[:]...), tail...)
		sum := sha256.Sum256(message)
		*d = digest(sum[:])
		clear(message)
		return
	}
	var buf [2 * sha256.BlockSize]byte
	copy(buf[copy(buf[:], k.key[:]):], tail)
	if stateHasSum {
		sumPadded(d, &buf, size)
		return
	}
	sum := sha256.Sum256(buf[:size])
	*d = digest(sum[:])
	clear(buf[:])
}

// maxPadded is how many bytes fit two blocks with the shortest padding: a byte, and
// 64 bits that say how long the message is.
const maxPadded = 2*sha256.BlockSize - minPadding

const minPadding = 1 + 8

// sumPadded computes the digest of the first bytes of buf, whose other bytes are zero,
// and overwrites them.
func sumPadded(d *digest, buf *[2 * sha256.BlockSize]byte, size int) {
	blocks := buf[:sha256.BlockSize]
	if size > sha256.BlockSize-minPadding {
		blocks = buf[:]
	}
	blocks[size] = 0x80
	binary.BigEndian.PutUint16(blocks[len(blocks)-2:], uint16(size)*8)
	h := sha256.New()
	h.Write(blocks)
	state, _ := h.(encoding.BinaryAppender).AppendBinary(buf[:0]) // never an error
	*d = digest(state[len("sha\x03"):])
	if len(blocks) > sha256.BlockSize {
		clear(buf[sha256.BlockSize:]) // the state is longer than one block, and shorter than two
	}
}

// stateHasSum reports whether the marshaled state of this crypto/sha256 has the sum after
// four bytes, and fits the buffer. A later version may have another state.
var stateHasSum = func() bool {
	var got digest
	sumPadded(&got, new([2 * sha256.BlockSize]byte), 0)
	want := sha256.Sum256(nil)
	return got == digest(want[:])
}()
