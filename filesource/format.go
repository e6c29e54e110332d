package filesource

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/svctoken/svctoken/internal/passhash"
	"github.com/svctoken/svctoken/tokencache"
)

// A FormatError reports a file with lines that break the format. None of its
// tokens are used.
type FormatError struct {
	Path  string
	Lines []LineError // the first bad lines, at most 20, in order
	More  int         // how many more bad lines there are
}

// Error lists the bad lines, one a line, each with file, number, token and rule,
// and says how many more there are.
func (e *FormatError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "filesource: %s has %d bad lines, so none of it is used", printable(e.Path), len(e.Lines)+e.More)
	for _, l := range e.Lines {
		fmt.Fprintf(&b, "\n%s:%s", printable(e.Path), l)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\nand %d more", e.More)
	}
	return b.String()
}

// A LineError says what is wrong with one line, or what was skipped. It holds
// nothing of the line but a valid name: what stands in a mistyped line may be a
// secret or a hash.
type LineError struct {
	Line  int    // physical, from 1
	Token string // the qualified name where the line has a valid one, or empty
	Bytes int    // the line's length, without the white space around it
	Rule  string
}

// String returns the number, the token or else the length, and the rule.
func (l LineError) String() string {
	if l.Token == "" {
		return fmt.Sprintf("%d: a line of %d bytes: %s", l.Line, l.Bytes, l.Rule)
	}
	return fmt.Sprintf("%d: %s: %s", l.Line, l.Token, l.Rule)
}

// maxListed bounds how many lines an error or a status lists: a file may have
// millions that are bad.
const maxListed = 20

// A list is a bounded number of line errors.
type list struct {
	first []LineError
	more  int
}

// add adds a line with what is wrong with it. Only what is listed costs memory.
func (l *list) add(number int, name, line string, err error) {
	if len(l.first) == maxListed {
		l.more++
		return
	}
	rule := err.Error()
	if err == errName {
		name, _, _ := strings.Cut(line, ":")
		_, err := tokencache.ParseTokenID(name)
		if e, ok := errors.AsType[*tokencache.NameError](err); ok { // whose text has the name
			rule = fmt.Sprintf("the %s before the colon %s", e.Field, e.Rule)
		}
	}
	name = strings.Clone(name) // or it would keep the file's whole text in memory
	l.first = append(l.first, LineError{number, name, len(line), rule})
}

// A document is what a file's text says.
type document struct {
	tokens   map[string]string // the hashes by qualified name; never changed once it is published
	bad      list
	warnings list
}

// err returns a *FormatError where there are bad lines.
func (d *document) err(path string) error {
	if d.bad.first == nil {
		return nil
	}
	return &FormatError{Path: path, Lines: d.bad.first, More: d.bad.more}
}

const (
	bom = "\ufeff"

	// shortestLine is the length of "a/b/c:" and a bcrypt hash: no file has more
	// tokens than this allows, whatever else is in it.
	shortestLine = 66

	longestName = 128 + 1 + 128 + 1 + 256
)

// mostTokens returns how many tokens a text has at most.
func mostTokens(text string) int { return min(strings.Count(text, ":"), len(text)/shortestLine+1) }

// parse reads a file's text, without a BOM. Where each is not nil, it is called for
// every token's line, with where that begins, where the next one does, and its name.
func parse(text string, each func(start, end int, name string)) *document {
	doc := &document{tokens: make(map[string]string, mostTokens(text))}
	number, start := 0, 0
	for raw, end := range lines(text) {
		number++
		if line := strings.TrimSpace(raw); line != "" && raw[0] != '#' {
			if name := doc.add(number, line); name != "" && each != nil {
				each(start, end, name)
			}
		}
		start = end
	}
	return doc
}

// lines yields the lines of a text without their endings, \n, \r\n or a lone \r, and
// where the next line begins.
func lines(text string) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		newline := -1 // the next \n, or the text's end
		for start := 0; start < len(text); {
			if newline < start {
				newline = len(text)
				if i := strings.IndexByte(text[start:], '\n'); i >= 0 {
					newline = start + i
				}
			}
			line, next := text[start:newline], min(newline+1, len(text))
			if i := strings.IndexByte(line, '\r'); i >= 0 {
				if start+i+2 != next { // a lone one, or more than one before the \n
					next = start + i + 1
				}
				line = line[:i]
			}
			if !yield(line, next) {
				return
			}
			start = next
		}
	}
}

// ends reports whether the text's last line has its ending.
func ends(text string) bool { return strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\r") }

var (
	errUnknown = fmt.Errorf("skipped: the hash is %w", passhash.ErrUnknown)
	errWeak    = fmt.Errorf("skipped: the hash is %w", passhash.ErrWeak)
	errTwice   = errors.New("replaces an earlier line for the same token")

	errNotUTF8 = errors.New("must be UTF-8")
	errNoColon = errors.New("must be a qualified name, a colon and a hash; there is no colon")
	errName    = errors.New("the name before the colon must be a qualified name")
	errLong    = fmt.Errorf("the qualified name before the colon must have at most %d bytes", longestName)
)

// add adds a trimmed token line, and returns its qualified name, or nothing where
// the line is bad. A hash that is to be skipped is a warning, and leaves an
// earlier good line in force.
func (d *document) add(number int, line string) (name string) {
	name, hash, err := splitLine(line)
	if err == nil {
		_, err = passhash.Check(hash)
	}
	switch {
	case err == passhash.ErrUnknown:
		d.warnings.add(number, name, line, errUnknown)
		return name
	case err == passhash.ErrWeak:
		d.warnings.add(number, name, line, errWeak)
		return name
	case err != nil:
		d.bad.add(number, name, line, err)
		d.tokens = nil // none will be used
		return ""
	case d.tokens == nil:
		return name
	}
	before := len(d.tokens)
	d.tokens[name] = hash
	if len(d.tokens) == before { // a look-up first would take a fifth of the parse (BenchmarkOpen)
		d.warnings.add(number, name, line, errTwice)
	}
	return name
}

// splitLine takes a trimmed token line apart. The name is valid or empty.
func splitLine(line string) (name, hash string, err error) {
	if !utf8.ValidString(line) {
		return "", "", errNotUTF8
	}
	name, hash, ok := strings.Cut(line, ":")
	if !ok {
		return "", "", errNoColon
	}
	if len(name) > longestName {
		return "", "", errLong
	}
	if !isQualified(name) {
		return "", "", errName
	}
	return name, hash, nil
}

// isQualified reports whether tokencache.ParseTokenID takes the name. It makes no
// error: a file may have a bad name each two bytes.
func isQualified(name string) bool {
	parts := 0
	for part := range strings.SplitSeq(name, "/") {
		parts++
		token := parts == 3
		if part == "" || part[0] == '_' || part[0] == '-' && !token || len(part) > 128 && !token || len(part) > 256 || !isName(part) {
			return false
		}
	}
	return parts == 3
}

func isName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
