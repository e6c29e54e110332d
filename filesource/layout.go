package filesource

import (
	"io"
	"slices"
	"strings"
)

// A layout is a file with all its lines, for editing. It refers to the file's text, so
// that an edit of a sorted file copies only what it writes.
type layout struct {
	text   string // without a BOM; every line ends with \n
	header int    // where the first token's block begins, after the comments at the top
	footer int    // where the text after the last token begins
	blocks []tokenBlock

	added   string // a new token's line
	addedAt int    // the index of the block that it goes before
}

// A tokenBlock is a token's line and the comments and blank lines above it, which move
// with it.
type tokenBlock struct {
	name             string
	start, line, end int // offsets in the text: of the comments above, of the line, and of what follows
}

// shortestLine is the length of "a/b/c:" and a bcrypt hash. It bounds how many tokens a
// text can have.
const shortestLine = 66

// newLayout returns the layout of a text, without its blocks.
func newLayout(text string) *layout {
	text = strings.TrimPrefix(text, bom)
	if strings.Contains(text, "\r") {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	if text != "" && !ends(text) {
		text += "\n"
	}
	return &layout{text: text}
}

// add adds the block that ends with a token's line. The lines must be added in order.
func (l *layout) add(line, end int, name string) {
	if l.blocks == nil {
		l.blocks = make([]tokenBlock, 0, min(strings.Count(l.text, ":"), len(l.text)/shortestLine+1))
		for line, next := range lines(l.text[:line]) {
			if strings.TrimSpace(line) == "" { // the last blank line ends what belongs to no token
				l.header, l.footer = next, next
			}
		}
	}
	l.blocks = append(l.blocks, tokenBlock{name: name, start: l.footer, line: line, end: end})
	l.footer = end
}

func (b tokenBlock) compare(name string) int { return strings.Compare(b.name, name) }

// sort sorts the tokens by qualified name; of two lines for one token, the last
// stays last. Most files are sorted.
func (l *layout) sort() {
	compare := func(a, b tokenBlock) int { return a.compare(b.name) }
	if !slices.IsSortedFunc(l.blocks, compare) {
		slices.SortStableFunc(l.blocks, compare)
	}
}

// line returns the last line of a token, or nothing. The layout is sorted.
func (l *layout) line(name string) string {
	end, _ := slices.BinarySearchFunc(l.blocks, name+"\x00", tokenBlock.compare)
	if end == 0 || l.blocks[end-1].name != name {
		return ""
	}
	return strings.TrimSpace(l.text[l.blocks[end-1].line:l.blocks[end-1].end])
}

// insert adds a token, which the file does not have; one at most. The layout is
// sorted.
func (l *layout) insert(name, line string) {
	if l.text == "\n" { // what writeTo leaves of a file without tokens
		l.text, l.footer = "", 0
	}
	l.added = line + "\n"
	l.addedAt, _ = slices.BinarySearchFunc(l.blocks, name, tokenBlock.compare)
}

// replace replaces every line of a token by another; the comments above it stay. The
// layout is sorted.
func (l *layout) replace(name, line string) {
	l.remove(name)
	l.added = line + "\n"
	l.addedAt, _ = slices.BinarySearchFunc(l.blocks, name+"\x00", tokenBlock.compare)
}

// remove removes every line of a token, and reports whether there was one. The
// comments above it stay. The layout is sorted.
func (l *layout) remove(name string) (found bool) {
	first, found := slices.BinarySearchFunc(l.blocks, name, tokenBlock.compare)
	for i := first; i < len(l.blocks) && l.blocks[i].name == name; i++ {
		l.blocks[i].end = l.blocks[i].line
	}
	return found
}

// writeTo writes the file's content, which is at least one blank line: an empty file
// looks like one that is being truncated.
func (l *layout) writeTo(w io.StringWriter) error {
	p := pieces{text: l.text, to: w}
	p.add(0, l.header)
	for i, b := range l.blocks {
		if i == l.addedAt {
			p.insert(l.added)
		}
		p.add(b.start, b.end)
	}
	if l.addedAt == len(l.blocks) {
		p.insert(l.added)
	}
	p.add(l.footer, len(l.text))
	p.insert("")
	if !p.written {
		p.insert("\n")
	}
	return p.err
}

// A pieces writes pieces of a text, and joins pieces that follow each other there.
type pieces struct {
	text       string
	to         io.StringWriter // once it has failed, each later write fails too, as with bufio
	start, end int             // of the piece that is still to be written
	written    bool            // whether anything was written
	err        error
}

// add writes a piece of the text, now or with a later one.
func (p *pieces) add(start, end int) {
	if start != p.end {
		p.insert("")
		p.start = start
	}
	p.end = end
}

// insert writes the piece that is still to be written, and then a text from elsewhere.
func (p *pieces) insert(other string) {
	for _, s := range []string{p.text[p.start:p.end], other} {
		if s != "" {
			_, p.err = p.to.WriteString(s)
			p.written = true
		}
	}
	p.start = p.end
}
