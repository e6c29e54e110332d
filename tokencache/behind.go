package tokencache

import "unsafe"

// This file puts a text behind the value that it belongs to, in one allocation. A hit
// then reads the next lines of the processor's cache, instead of first loading an address
// and then waiting for memory there; and each text costs 16 bytes less. It is the only
// file that needs package unsafe.

// allocateBehind allocates a value with room for a text behind it.
func allocateBehind[T, Room any]() *T {
	x := new(struct {
		value T
		room  Room
	})
	return &x.value
}

// copyBehind copies the text into the room behind the value, which has to be large
// enough.
func copyBehind[T any](value *T, text string) {
	copy(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(value), unsafe.Sizeof(*value))), len(text)), text)
}

// textBehind returns the text that copyBehind has put there. Nothing writes there again,
// so it is as immutable as a string has to be. It keeps the value from being collected.
func textBehind[T any](value *T, size int) string {
	return unsafe.String((*byte)(unsafe.Add(unsafe.Pointer(value), unsafe.Sizeof(*value))), size)
}

// rooms are the sizes of text for which there is an entry: each fills a size class of
// Go's allocator to the last byte. The last takes the longest text of a valid name.
var rooms = [...]struct {
	size     int
	allocate func() *entry
}{
	{24, allocateBehind[entry, [24]byte]},
	{40, allocateBehind[entry, [40]byte]},
	{56, allocateBehind[entry, [56]byte]},
	{72, allocateBehind[entry, [72]byte]},
	{88, allocateBehind[entry, [88]byte]},
	{104, allocateBehind[entry, [104]byte]},
	{136, allocateBehind[entry, [136]byte]},
	{184, allocateBehind[entry, [184]byte]},
	{312, allocateBehind[entry, [312]byte]},
	{664, allocateBehind[entry, [664]byte]},
}

// entryWith returns an entry with a text.
func entryWith(text string) *entry {
	i := 0
	for rooms[i].size < len(text) {
		i++
	}
	e := rooms[i].allocate()
	copyBehind(e, text)
	e.textLen = uint16(len(text))
	return e
}

// headRoom is the length of the heads that stand behind their cells: those of accounts
// of up to 41 characters. A longer one has an allocation of its own.
const headRoom = 64

// cellWith returns a cell with a head.
func cellWith(head string) *cell {
	if len(head) > headRoom {
		return &cell{head: head}
	}
	c := allocateBehind[cell, [headRoom]byte]()
	copyBehind(c, head)
	c.head = textBehind(c, len(head))
	return c
}
