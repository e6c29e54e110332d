package filesource

import (
	"bytes"
	"slices"
	"strings"
)

// A parser takes the text of a file apart, piece by piece as it is written to it. It
// keeps only the tokens, and a line whose end is still to come.
type parser struct {
	doc    *document
	size   int                               // of the text, approximately
	each   func(start, end int, name string) // called for every token's line with its beginning, the beginning of the next line, and its name; may be nil
	begun  []byte                            // a line whose end is still to come
	number int                               // of lines so far
	at     int                               // how many bytes of the text those lines are, without the BOM
}

// newParser returns a parser of a text of about this size. Its tokens share the lines
// that known has, which are not checked again; known may be nil.
func newParser(known *tokens, size int) *parser {
	return &parser{doc: &document{tokens: newTokens(known)}, size: size}
}

// parse takes a whole text apart.
func parse(text string, known *tokens, each func(start, end int, name string)) *document {
	p := newParser(known, 0)
	p.each = each
	p.take(text)
	return p.end()
}

// Write takes the next piece of the text. It never fails.
func (p *parser) Write(piece []byte) (int, error) {
	whole := bytes.LastIndexByte(piece, '\n') + 1
	if whole == 0 && len(piece) > 0 { // at the end, a \r may be the beginning of a \r\n
		whole = bytes.LastIndexByte(piece[:len(piece)-1], '\r') + 1
	}
	if whole > 0 {
		p.begun = append(p.begun, piece[:whole]...)
		p.take(textOf(p.begun))
		p.begun = p.begun[:0]
	}
	if len(p.begun) > mostWaste { // the text may be one long line, which must not be copied again and again
		p.begun = slices.Grow(p.begun, max(p.size-len(p.begun), 0))
	}
	p.begun = append(p.begun, piece[whole:]...)
	return len(piece), nil
}

// end returns what the text said.
func (p *parser) end() *document {
	p.take(textOf(p.begun))
	if p.doc.tokens != nil {
		p.doc.tokens = p.doc.tokens.finish()
	}
	return p.doc
}

// take parses whole lines. It keeps no reference to the text.
func (p *parser) take(text string) {
	if p.number == 0 {
		text = strings.TrimPrefix(text, bom)
	}
	start := 0
	for raw, end := range lines(text) {
		p.number++
		if line := strings.TrimSpace(raw); line != "" && raw[0] != '#' {
			if name := p.doc.add(p.number, line); name != "" && p.each != nil {
				p.each(p.at+start, p.at+end, name)
			}
		}
		start = end
	}
	p.at += len(text)
	if text != "" {
		p.doc.ended = ends(text)
	}
}
