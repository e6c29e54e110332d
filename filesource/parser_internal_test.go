package filesource

import (
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someHash = "{SSHA256}AAECAwQFBgc=wWZbSSQlbfWMkwfCRhqHNxCEGLEUTKc/nNCOWZOfNzc="

// said returns a document's content as text.
type said struct {
	Tokens        map[string]string
	Ended         bool
	Bad, Warnings []LineError
}

func sayOf(doc *document) said {
	s := said{Ended: doc.ended, Bad: doc.bad.first, Warnings: doc.warnings.first}
	if doc.tokens != nil {
		s.Tokens = maps.Collect(doc.tokens.all())
	}
	return s
}

// TestParserTakesPieces: the result is the same however the text is cut into pieces, and
// whatever was known before.
func TestParserTakesPieces(t *testing.T) {
	words := []string{
		"\n", "\n", "\r\n", "\r\n", "\r", "\r\r\n", "\n\r", "", " ", "# c", bom, "bad",
		"a/b/c:" + someHash, "a/b/d:" + someHash, " a/b/c:" + someHash, "a/b/e:plain", "a/b/_:" + someHash,
	}
	known := setOf(nil, "a/b/c:"+someHash, "a/b/d:other", "a/b/f:"+someHash)
	for seed := range uint64(800) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var text strings.Builder
		for range rng.IntN(12) {
			text.WriteString(words[rng.IntN(len(words))])
			if rng.IntN(2) == 0 {
				text.WriteString("\n")
			}
		}
		want := sayOf(parse(text.String(), nil, nil))
		for _, from := range []*tokens{nil, known} {
			p := newParser(from, rng.IntN(2)*text.Len())
			for rest := []byte(text.String()); len(rest) > 0; {
				piece := append([]byte(nil), rest[:1+rng.IntN(len(rest))]...)
				if n, err := p.Write(piece); n != len(piece) || err != nil {
					t.Fatalf("wrote %d, %v", n, err)
				}
				rest = rest[len(piece):]
				clear(piece) // it is the caller's again
			}
			doc := p.end()
			clear(p.begun[:cap(p.begun)]) // and what it has kept is a copy
			if diff := cmp.Diff(want, sayOf(doc)); diff != "" {
				t.Fatalf("seed %d, %q (-whole +in pieces):\n%s", seed, text.String(), diff)
			}
		}
	}
}

// TestParserPlaces: each line is where the parser says, below a BOM.
func TestParserPlaces(t *testing.T) {
	text := "# c\r\na/b/c:" + someHash + "\r\n\n a/b/d:x\na/b/e:" + someHash
	var got []string
	parse(bom+text, nil, func(start, end int, name string) { got = append(got, name+"="+text[start:end]) })
	want := []string{"a/b/c=a/b/c:" + someHash + "\r\n", "a/b/d= a/b/d:x\n", "a/b/e=a/b/e:" + someHash}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTextHash: the hash depends on the text alone, not on the pieces, and a text has
// grown from one that it begins with.
func TestTextHash(t *testing.T) {
	f := &File{seed: maphash.MakeSeed()}
	hashOf := func(text string, earlier sighting, rng *rand.Rand) *textHash {
		h := f.newTextHash(earlier)
		for rest := text; rest != ""; {
			n := 1 + rng.IntN(len(rest))
			if wrote, err := h.Write([]byte(rest[:n])); wrote != n || err != nil {
				t.Fatalf("wrote %d, %v", wrote, err)
			}
			rest = rest[n:]
		}
		return h
	}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		for _, test := range []struct {
			before, now string
			grown       bool
		}{
			{"", "", true}, {"", "abc", true}, {"abc", "abc", true}, {"abc", "abcdef", true},
			{"abc", "ab", false}, {"abc", "abd", false}, {"abc", "xbcdef", false}, {"abc", "", false},
		} {
			first := hashOf(test.before, sighting{}, rng)
			earlier := sighting{length: first.length, content: first.Sum64()}
			now := hashOf(test.now, earlier, rng)
			if now.grown != test.grown || now.length != int64(len(test.now)) || now.Sum64() != hashOf(test.now, sighting{}, rng).Sum64() {
				t.Errorf("%q from %q: grown %v, length %d", test.now, test.before, now.grown, now.length)
			}
		}
	}
}

// TestParserKeepsOneLine: it keeps one line of a text at most, however the lines end.
func TestParserKeepsOneLine(t *testing.T) {
	for _, end := range []string{"\n", "\r\n", "\r"} {
		piece := []byte(strings.Repeat("# a comment"+end, 3000))
		p := newParser(nil, 100*len(piece))
		for range 100 {
			p.Write(piece)
		}
		if cap(p.begun) > 3*len(piece) {
			t.Errorf("%q: it keeps %d bytes", end, cap(p.begun))
		}
		if p.end(); p.number != 300_000 {
			t.Errorf("%q: %d lines", end, p.number)
		}
	}
}
