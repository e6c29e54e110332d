package filesource

import (
	"hash/maphash"
	"iter"
	"strings"
	"unsafe"
)

// A tokens is a set of token lines, each found by its qualified name. Once it is part of
// a view it is never changed. A nil one is empty.
//
// It holds the text of the lines in blocks. A set that is made from it shares the lines
// that both have: a reload takes memory for what has changed, and for the table, not for
// the whole text once more.
//
//   - INVARIANT: the bytes of a line do not change once it is in the table.
//   - INVARIANT: a set is made from one other at most: from is nil once it is finished.
type tokens struct {
	seed    maphash.Seed // of the hashes of names
	from    *tokens      // the set that this one is made from, or nil
	blocks  [][]byte     // of lines that end with \n; those of from first
	filling bool         // whether the last block is this set's own
	table   []slot       // its length is a power of two; at most three quarters of it are taken
	count   int
	used    int // bytes of the lines in the table
	written int // bytes of this set's own blocks
	held    int // bytes of all blocks
}

// A slot of the table says where a line is, and has some bits of its name's hash, which
// tell most other names apart. The zero slot is free.
type slot uint64

const (
	placeBits = 24 // where in the block the line begins
	blockBits = 24 // which block, from 1
	tagBits   = 64 - placeBits - blockBits

	leastBlock = 1 << 10
	mostBlock  = 1 << 20 // a longer line has a block of its own
	leastTable = 8
	mostWaste  = 1 << 16 // bytes of garbage that blocks may hold beside half of what the lines take
)

func newSlot(block, place int, hash uint64) slot {
	return slot(hash&^(1<<(64-tagBits)-1) | uint64(block+1)<<placeBits | uint64(place))
}

// tagged reports whether the slot's name may be the one with this hash.
func (s slot) tagged(hash uint64) bool { return (uint64(s)^hash)>>(64-tagBits) == 0 }

// newTokens returns an empty set that shares the lines of another, which may be nil.
func newTokens(from *tokens) *tokens {
	if from == nil {
		return &tokens{seed: maphash.MakeSeed(), table: make([]slot, leastTable)}
	}
	blocks := from.blocks[:len(from.blocks):len(from.blocks)] // appending to it copies it
	return &tokens{seed: from.seed, from: from, blocks: blocks, held: from.held, table: make([]slot, len(from.table))}
}

// finish returns the set when everything has been added: the same lines in new blocks and
// a new table, if the old ones hold too much else.
func (t *tokens) finish() *tokens {
	t.from = nil
	if t.held <= t.used+t.used/2+mostWaste && len(t.table) <= 8*t.count+leastTable {
		return t
	}
	next := newTokens(nil)
	for s := range t.slots() {
		line := t.line(s)
		next.add(line, strings.IndexByte(line, ':'))
	}
	return next
}

// len returns how many tokens there are.
func (t *tokens) len() int {
	if t == nil {
		return 0
	}
	return t.count
}

// get returns the hash of a token's secret.
func (t *tokens) get(name string) (hash string, ok bool) {
	if t == nil {
		return "", false
	}
	_, line := t.find(name, maphash.String(t.seed, name))
	if line == "" {
		return "", false
	}
	return line[len(name)+1:], true
}

// all yields the names and the hashes of all tokens, in no order.
func (t *tokens) all() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for s := range t.slots() {
			if name, hash, _ := strings.Cut(t.line(s), ":"); !yield(name, hash) {
				return
			}
		}
	}
}

// missing returns how many of the tokens another set lacks, or has with another hash.
func (t *tokens) missing(other *tokens) (n int) {
	for name, hash := range t.all() {
		if now, _ := other.get(name); now != hash {
			n++
		}
	}
	return n
}

// equal reports whether both sets have the same tokens with the same hashes.
func (t *tokens) equal(other *tokens) bool { return t.len() == other.len() && t.missing(other) == 0 }

// share adds a line if the set that this one is made from has the very same line. It
// reports whether it does, and whether this set had the token already.
func (t *tokens) share(line string, colon int) (name string, shared, again bool) {
	if t.from == nil {
		return "", false, false
	}
	hash := maphash.String(t.seed, line[:colon])
	at, same := t.from.find(line[:colon], hash)
	if same != line {
		return "", false, false
	}
	name, again = t.put(t.from.table[at], colon, hash)
	return name, true, again
}

// add adds a copy of a line, and reports whether the set had the token already.
func (t *tokens) add(line string, colon int) (name string, again bool) {
	if last := len(t.blocks) - 1; !t.filling || len(t.blocks[last])+len(line) >= cap(t.blocks[last]) {
		size := max(min(max(t.written/8, leastBlock), mostBlock), len(line)+1)
		t.blocks = append(t.blocks, make([]byte, 0, size))
		t.filling = true
		t.written += size
		t.held += size
	}
	last := len(t.blocks) - 1
	hash, place := maphash.String(t.seed, line[:colon]), len(t.blocks[last])
	t.blocks[last] = append(append(t.blocks[last], line...), '\n')
	return t.put(newSlot(last, place, hash), colon, hash)
}

// put puts a line into the table.
func (t *tokens) put(s slot, colon int, hash uint64) (name string, again bool) {
	if 4*(t.count+1) > 3*len(t.table) {
		t.grow()
	}
	line := t.line(s)
	at, before := t.find(line[:colon], hash)
	t.table[at] = s
	t.used += len(line) + 1
	if before != "" {
		t.used -= len(before) + 1
		return line[:colon], true
	}
	t.count++
	return line[:colon], false
}

// remove removes a token, if the set has it.
func (t *tokens) remove(name string) {
	at, line := t.find(name, maphash.String(t.seed, name))
	if line == "" {
		return
	}
	t.count--
	t.used -= len(line) + 1
	t.table[at] = 0
	mask := len(t.table) - 1
	for i := (at + 1) & mask; t.table[i] != 0; i = (i + 1) & mask { // a line that would not be found behind the free slot moves into it
		if home := t.home(t.table[i]); (i-home)&mask >= (i-at)&mask {
			t.table[at], t.table[i] = t.table[i], 0
			at = i
		}
	}
}

func (t *tokens) grow() {
	old := *t
	t.table = make([]slot, 2*len(old.table))
	mask := len(t.table) - 1
	for s := range old.slots() {
		at := t.home(s)
		for t.table[at] != 0 {
			at = (at + 1) & mask
		}
		t.table[at] = s
	}
}

// home returns where in the table a line would be if nothing was in its way.
func (t *tokens) home(s slot) int {
	name, _, _ := strings.Cut(t.line(s), ":")
	return int(maphash.String(t.seed, name)) & (len(t.table) - 1)
}

// find returns where in the table a name is, with its line; or the free slot where it
// would be.
func (t *tokens) find(name string, hash uint64) (at int, line string) {
	mask := len(t.table) - 1
	for at = int(hash) & mask; t.table[at] != 0; at = (at + 1) & mask {
		if !t.table[at].tagged(hash) {
			continue
		}
		if line := t.line(t.table[at]); len(line) > len(name) && line[len(name)] == ':' && line[:len(name)] == name {
			return at, line
		}
	}
	return at, ""
}

// slots yields the slots that are taken.
func (t *tokens) slots() iter.Seq[slot] {
	return func(yield func(slot) bool) {
		if t == nil {
			return
		}
		for _, s := range t.table {
			if s != 0 && !yield(s) {
				return
			}
		}
	}
}

// line returns the line of a slot.
func (t *tokens) line(s slot) string {
	block := t.blocks[uint64(s)>>placeBits&(1<<blockBits-1)-1]
	rest := textOf(block[uint64(s)&(1<<placeBits-1):])
	return rest[:strings.IndexByte(rest, '\n')]
}

// textOf returns bytes as a string without a copy. They must not change as long as the
// string is used.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
