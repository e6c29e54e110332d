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

// A LineError says what is wrong with one line, or what was skipped. It holds nothing of
// the line but a valid name: a mistyped line may have a secret or a hash anywhere.
type LineError struct {
	Line  int    // physical, from 1
	Token string // the qualified name if the line has a valid one, or empty
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
		if e, ok := errors.AsType[*tokencache.NameError](err); ok { // its text would have the name
			rule = fmt.Sprintf("the %s before the colon %s", e.Field, e.Rule)
		}
	}
	name = strings.Clone(name) // or it would keep the file's whole text in memory
	l.first = append(l.first, LineError{number, name, len(line), rule})
}

// A document is what a file's text says.
type document struct {
	tokens   *tokens // never changed once they are published
	ended    bool    // whether the last line has its end
	bad      list
	warnings list
}

// err returns a *FormatError if there are bad lines.
func (d *document) err(path string) error {
	if d.bad.first == nil {
		return nil
	}
	return &FormatError{Path: path, Lines: d.bad.first, More: d.bad.more}
}

const (
	bom = "\ufeff"

	longestName = 128 + 1 + 128 + 1 + 256
)

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
				if start+i+1 != newline || newline == len(text) { // a lone one, or more than one before the \n
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

// add adds a trimmed token line, and returns its qualified name, or nothing if the line
// is bad. A line whose hash is skipped is a warning, and leaves an earlier good line in
// force. The document keeps a copy of the line, not the line.
func (d *document) add(number int, line string) (name string) {
	colon, err := checkName(line)
	if err != nil {
		d.addBad(number, "", line, err)
		return ""
	}
	if d.tokens != nil {
		if name, shared, again := d.tokens.share(line, colon); shared { // it was checked before
			d.noteAgain(again, number, name, line)
			return name
		}
	}
	name = line[:colon]
	switch _, err := passhash.Check(line[colon+1:]); {
	case err == passhash.ErrUnknown:
		d.warnings.add(number, name, line, errUnknown)
		return name
	case err == passhash.ErrWeak:
		d.warnings.add(number, name, line, errWeak)
		return name
	case err != nil:
		d.addBad(number, name, line, err)
		return ""
	case d.tokens == nil:
		return name
	}
	name, again := d.tokens.add(line, colon)
	d.noteAgain(again, number, name, line)
	return name
}

// put adds a line, or puts it in the place of the token's present one.
func (d *document) put(line string) { d.tokens.add(line, strings.IndexByte(line, ':')) }

// noteAgain notes that the file has two lines for a token, if it has.
func (d *document) noteAgain(again bool, number int, name, line string) {
	if again {
		d.warnings.add(number, name, line, errTwice)
	}
}

// addBad adds a bad line.
func (d *document) addBad(number int, name, line string, err error) {
	d.bad.add(number, name, line, err)
	d.tokens = nil // none will be used
}

// checkName returns the index of the colon in a trimmed token line, or an error if there
// is no valid qualified name before it.
func checkName(line string) (colon int, err error) {
	if !utf8.ValidString(line) {
		return 0, errNotUTF8
	}
	colon = strings.IndexByte(line, ':')
	switch {
	case colon < 0:
		return 0, errNoColon
	case colon > longestName:
		return 0, errLong
	case !isQualified(line[:colon]):
		return 0, errName
	default:
		return colon, nil
	}
}

// isQualified reports whether tokencache.ParseTokenID takes the name. It allocates no
// error: a file may have a bad name every two bytes.
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
