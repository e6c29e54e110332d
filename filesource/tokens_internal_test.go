package filesource

import (
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// setOf returns a set of lines, made from another.
func setOf(from *tokens, lines ...string) *tokens {
	t := newTokens(from)
	for _, line := range lines {
		addTo(t, line)
	}
	return t.finish()
}

// addTo adds a line, which is shared if it can be, and reports whether the token was there.
func addTo(t *tokens, line string) bool {
	colon := strings.IndexByte(line, ':')
	name, shared, again := t.share(line, colon)
	if !shared {
		name, again = t.add(line, colon)
	}
	if name != line[:colon] {
		panic(name)
	}
	return again
}

// TestTokensAgainstAMap makes sets from sets at random, and compares each with a map, also
// when later ones have been made from it.
func TestTokensAgainstAMap(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 1))
		names := 1 + rng.IntN(150)
		line := func(name string) (string, string) {
			hash := strings.Repeat(fmt.Sprint("h:", rng.IntN(3)), 1+rng.IntN(100))
			return name + ":" + hash, hash
		}
		var sets []*tokens
		var wants []map[string]string
		for range 6 {
			var from *tokens
			if len(sets) > 0 && rng.IntN(6) > 0 {
				from = sets[rng.IntN(len(sets))]
			}
			set, want := newTokens(from), make(map[string]string)
			for _, op := range slices.Repeat([]int{0, 0, 0, 1, 1, 1, 2}, rng.IntN(names)) {
				name := fmt.Sprint("a/b/", rng.IntN(names))
				text, hash := line(name)
				before, had := want[name]
				if known, ok := from.get(name); op == 1 && ok { // the very same
					text, hash = name+":"+known, known
				}
				if op == 2 {
					set.remove(name)
					delete(want, name)
				} else {
					if again := addTo(set, text); again != had {
						t.Fatalf("seed %d: %s: again %v, before %q", seed, name, again, before)
					}
					want[name] = hash
				}
			}
			sets, wants = append(sets, set.finish()), append(wants, want)
		}
		for i, set := range sets {
			if diff := cmp.Diff(wants[i], maps.Collect(set.all())); diff != "" || set.len() != len(wants[i]) {
				t.Fatalf("seed %d, set %d: len %d (-want +got):\n%s", seed, i, set.len(), diff)
			}
			for n := range names + 1 {
				name := fmt.Sprint("a/b/", n)
				want, ok := wants[i][name]
				if got, got2 := set.get(name); got != want || got2 != ok {
					t.Fatalf("seed %d, set %d: %s is %q, %v; want %q", seed, i, name, got, got2, want)
				}
			}
			for j, other := range sets {
				missing := 0
				for name, hash := range wants[i] {
					if wants[j][name] != hash {
						missing++
					}
				}
				if got := set.missing(other); got != missing || set.equal(other) != maps.Equal(wants[i], wants[j]) {
					t.Fatalf("seed %d: %d of set %d are missing from %d, got %d", seed, missing, i, j, got)
				}
			}
		}
	}
}

// TestNoTokens: a nil set is an empty one.
func TestNoTokens(t *testing.T) {
	var none *tokens
	if _, ok := none.get("a/b/c"); ok || none.len() != 0 || none.missing(setOf(nil)) != 0 || !none.equal(setOf(nil)) || !setOf(nil).equal(none) {
		t.Error("it has something")
	}
	for name := range none.all() {
		t.Error(name)
	}
	if one := setOf(nil, "a/b/c:x"); one.missing(none) != 1 || one.equal(none) || none.equal(one) {
		t.Error("one token is none")
	}
}

// TestNamesWithOneTag: names are told apart even if their hashes are not, also names that
// begin alike.
func TestNamesWithOneTag(t *testing.T) {
	s := setOf(nil, "a/b/c:x", "a/b/cc:y")
	for _, name := range []string{"a/b/c", "a/b/cc"} {
		for _, other := range []string{"a/b/c", "a/b/cc", "a/b/ccc", "a/b/", "", "a/b/c:", "a/b/d"} {
			at, line := s.find(other, maphash.String(s.seed, name))
			if found := s.table[at] != 0 && line != ""; found != (name == other) {
				t.Errorf("%s was found for %q: %v", name, other, found)
			}
		}
	}
}

// TestTokensShareText: a set that is made from another needs no second text, and garbage
// does not add up.
func TestTokensShareText(t *testing.T) {
	var lines []string
	size := 0
	for i := range 6_000 {
		lines = append(lines, fmt.Sprintf("a/b/%d:%s", i, strings.Repeat("x", 100)))
		size += len(lines[i]) + 1
	}
	set := setOf(nil, lines...)
	if set.used != size || set.held < size || set.held > size+size/8+2*leastBlock {
		t.Fatalf("%d bytes of %d are used, %d held", set.used, size, set.held)
	}
	most := 0
	for i := range 3 * len(lines) { // each is replaced, three times
		at := i % len(lines)
		lines[at] = lines[at][:len(lines[at])-1] + fmt.Sprint(i/len(lines))
		if i%600 > 0 {
			continue
		}
		before := set.held
		set = setOf(set, lines...)
		if set.held > before+600*110+2*mostWaste && set.held > size+size/8+2*leastBlock {
			t.Fatalf("%d changes took %d bytes", 600, set.held-before)
		}
		if set.used != size || set.from != nil {
			t.Fatalf("%d bytes of %d are used; from %v", set.used, size, set.from != nil)
		}
		most = max(most, set.held)
	}
	if most > size+size/2+mostWaste || most < size+size/4 {
		t.Errorf("%d bytes were held at most, of lines of %d", most, size)
	}
}

// TestLongLine: a line that is longer than any block has its own. No other line is behind
// it, at a place for which a slot has no room.
func TestLongLine(t *testing.T) {
	for _, size := range []int{3 * mostBlock, 1 << placeBits} {
		long := "a/b/long:" + strings.Repeat("x", size)
		set := setOf(nil, "a/b/c:x", long, "a/b/d:y")
		for name, want := range map[string]int{"a/b/c": 1, "a/b/long": size, "a/b/d": 1} {
			if hash, _ := set.get(name); len(hash) != want {
				t.Errorf("%s, beside one of %d: %d bytes", name, size, len(hash))
			}
		}
		if set.held > size+2*mostBlock {
			t.Errorf("%d bytes are held, for one line of %d", set.held, size)
		}
	}
}

// TestTableFits: the table has room, but not much more than it needs, even when most
// tokens have gone.
func TestTableFits(t *testing.T) {
	set := newTokens(nil)
	fits := func(when string, most int) {
		t.Helper()
		if n := len(set.table); 4*set.count > 3*n || n > most || n&(n-1) != 0 {
			t.Fatalf("%s: %d tokens in a table of %d", when, set.count, n)
		}
	}
	var lines []string
	for i := range 3000 {
		lines = append(lines, fmt.Sprint("a/b/", i, ":x"))
		addTo(set, lines[i])
		fits("added", 8+3*set.count)
	}
	large := set.finish()
	if len(newTokens(large).table) != len(large.table) {
		t.Error("the next set begins with a table of another size, which would have to grow")
	}
	for _, n := range []int{2000, 600, 500, 400, 10, 0} {
		set = setOf(large, lines[:n]...)
		fits("gone", 8+8*n)
		if set.count != n {
			t.Errorf("%d tokens, want %d", set.count, n)
		}
	}
}

// TestSlots: a slot has its place, and tells most names apart.
func TestSlots(t *testing.T) {
	const hash = 0xABCD_EF01_2345_6789
	for _, other := range []uint64{hash ^ 1<<63, hash ^ 1<<48, 0} {
		if s := newSlot(5, 7, hash); s == 0 || !s.tagged(hash) || s.tagged(other) || !s.tagged(hash^1<<47) {
			t.Errorf("%x is tagged wrongly", s)
		}
	}
	const last = 1<<placeBits - 1
	block := append(make([]byte, last), "a/b/d:z\n"...)
	copy(block, "a/b/c:x\n")
	set := &tokens{blocks: make([][]byte, 300)}
	set.blocks[299] = block
	for place, want := range map[int]string{0: "a/b/c:x", last: "a/b/d:z"} {
		if got := set.line(newSlot(299, place, hash)); got != want {
			t.Errorf("at %d: got %q, want %q", place, got, want)
		}
	}
}
