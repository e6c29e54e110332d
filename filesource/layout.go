package filesource

import (
	"io"
	"slices"
	"strings"
)

// A layout is a file with all its lines, for editing.
type layout struct {
	header []string // the comments on top, up to their last blank line
	tokens []tokenBlock
	footer []string // what stands below the last token
}

// A tokenBlock is a token's line with the comments and blank lines above it,
// which move with it.
type tokenBlock struct {
	name  string
	line  string
	above []string
}

// add adds a line of the file; the name is empty for one without a token.
func (l *layout) add(line, name string) {
	if name == "" {
		l.footer = append(l.footer, line)
		return
	}
	above := l.footer
	l.footer = nil
	if l.tokens == nil {
		split := 1 + lastIndex(above, "")
		l.header, above = above[:split:split], above[split:]
	}
	l.tokens = append(l.tokens, tokenBlock{name: name, line: line, above: above})
}

func lastIndex(lines []string, line string) int {
	for i, l := range slices.Backward(lines) {
		if l == line {
			return i
		}
	}
	return -1
}

func (b tokenBlock) compare(name string) int { return strings.Compare(b.name, name) }

// sort sorts the tokens by qualified name; of two lines for one token, the last
// stays last. Most files are sorted.
func (l *layout) sort() {
	compare := func(a, b tokenBlock) int { return a.compare(b.name) }
	if !slices.IsSortedFunc(l.tokens, compare) {
		slices.SortStableFunc(l.tokens, compare)
	}
}

// line returns the last line of a token, or nothing.
func (l *layout) line(name string) string {
	l.sort()
	end, _ := slices.BinarySearchFunc(l.tokens, name+"\x00", tokenBlock.compare)
	if end == 0 || l.tokens[end-1].name != name {
		return ""
	}
	return l.tokens[end-1].line
}

// insert adds a token, which the file does not have.
func (l *layout) insert(name, line string) {
	l.sort()
	if len(l.tokens) == 0 && len(l.footer) == 1 && l.footer[0] == "" {
		l.footer = nil
	}
	i, _ := slices.BinarySearchFunc(l.tokens, name, tokenBlock.compare)
	l.tokens = slices.Insert(l.tokens, i, tokenBlock{name: name, line: line})
}

// remove removes every line of a token, and reports whether there was one. The
// comments above it stay.
func (l *layout) remove(name string) bool {
	kept := l.tokens[:0]
	var orphans []string
	found := false
	for _, b := range l.tokens {
		if b.name == name {
			orphans = append(orphans, b.above...)
			found = true
			continue
		}
		if orphans != nil {
			b.above, orphans = slices.Concat(orphans, b.above), nil
		}
		kept = append(kept, b)
	}
	clear(l.tokens[len(kept):])
	l.tokens, l.footer = kept, slices.Concat(orphans, l.footer)
	return found
}

// writeTo writes the file's content: one blank line at least, see placed. That line
// alone is not kept by the next edit.
func (l *layout) writeTo(w io.StringWriter) error {
	l.sort()
	if len(l.tokens) == 0 && len(l.header) == 0 && len(l.footer) == 0 {
		l.footer = []string{""}
	}
	write := func(lines ...string) error {
		for _, line := range lines {
			if _, err := w.WriteString(line); err != nil {
				return err
			}
			if _, err := w.WriteString("\n"); err != nil {
				return err
			}
		}
		return nil
	}
	if err := write(l.header...); err != nil {
		return err
	}
	for _, t := range l.tokens {
		if err := write(t.above...); err != nil {
			return err
		}
		if err := write(t.line); err != nil {
			return err
		}
	}
	return write(l.footer...)
}
