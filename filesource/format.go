package filesource

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/svctoken/svctoken/internal/passhash"
	"github.com/svctoken/svctoken/internal/quote"
	"github.com/svctoken/svctoken/tokencache"
)

// A FormatError reports a file with lines that break the format. None of its
// tokens are used.
type FormatError struct {
	Path  string
	Lines []LineError // every bad line, in order
}

// Error lists the bad lines, one a line, each with file, number, token and rule.
func (e *FormatError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "filesource: %s has %d bad lines, so none of it is used", e.Path, len(e.Lines))
	for _, l := range e.Lines {
		fmt.Fprintf(&b, "\n%s:%s", e.Path, l)
	}
	return b.String()
}

// A LineError says what is wrong with one line, or what was skipped. It never
// holds the hash.
type LineError struct {
	Line  int    // physical, from 1
	Token string // the qualified name, shortened where it is long; empty where the line has none
	Rule  string
}

// String returns the number, the token and the rule.
func (l LineError) String() string {
	if l.Token == "" {
		return fmt.Sprintf("%d: %s", l.Line, l.Rule)
	}
	return fmt.Sprintf("%d: %s: %s", l.Line, l.Token, l.Rule)
}

// A stored is what the file says of a token.
type stored struct{ scheme, hash string }

// A document is a file that was read.
type document struct {
	tokens   map[tokencache.TokenID]stored
	warnings []LineError
}

const bom = "\ufeff"

// parse reads a file's content. The error is a *FormatError.
func parse(path, text string) (*document, error) {
	doc := &document{tokens: make(map[tokencache.TokenID]stored, strings.Count(text, "\n")+1)}
	var bad []LineError
	number := 0
	for raw := range strings.Lines(strings.TrimPrefix(text, bom)) {
		number++
		line, kind := trimLine(raw)
		if kind != tokenLine {
			continue
		}
		id, hash, err := splitLine(line)
		if err == nil {
			err = doc.add(number, id, hash)
		}
		if err != nil {
			bad = append(bad, LineError{number, shortName(line), err.Error()})
		}
	}
	if bad != nil {
		return nil, &FormatError{Path: path, Lines: bad}
	}
	return doc, nil
}

type lineKind int

const (
	blankLine lineKind = iota
	commentLine
	tokenLine
)

// trimLine removes the line's ending and the white space around it.
func trimLine(raw string) (string, lineKind) {
	line := strings.TrimSpace(raw)
	switch {
	case strings.HasPrefix(raw, "#"):
		return line, commentLine
	case line == "":
		return "", blankLine
	default:
		return line, tokenLine
	}
}

// splitLine takes a trimmed token line apart.
func splitLine(line string) (id tokencache.TokenID, hash string, err error) {
	if !utf8.ValidString(line) {
		return id, "", errors.New("must be UTF-8")
	}
	qualified, hash, ok := strings.Cut(line, ":")
	if !ok {
		return id, "", errors.New("must be a qualified name, a colon and a hash; there is no colon")
	}
	id, err = tokencache.ParseTokenID(qualified)
	if nameErr, ok := errors.AsType[*tokencache.NameError](err); ok {
		return id, "", fmt.Errorf("the %s %s", nameErr.Field, nameErr.Rule)
	}
	return id, hash, err
}

// shortName returns what stands before the colon, fit for a message. A line
// without a colon has no name: it could be a secret.
func shortName(line string) string {
	name, _, ok := strings.Cut(line, ":")
	if !ok {
		return ""
	}
	if quoted := quote.Short(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// add adds a token line. A hash that is to be skipped is a warning, and leaves an
// earlier good line in force.
func (d *document) add(number int, id tokencache.TokenID, hash string) error {
	scheme, err := passhash.Check(hash)
	switch {
	case err == passhash.ErrUnknown || err == passhash.ErrWeak:
		d.warn(number, id, fmt.Sprintf("skipped: the hash is %v", err))
		return nil
	case err != nil:
		return err
	}
	before := len(d.tokens)
	d.tokens[id] = stored{scheme, hash}
	if len(d.tokens) == before { // a look-up first would take a fifth of the parse (BenchmarkOpen)
		d.warn(number, id, "replaces an earlier line for the same token")
	}
	return nil
}

func (d *document) warn(number int, id tokencache.TokenID, rule string) {
	d.warnings = append(d.warnings, LineError{number, id.String(), rule})
}
