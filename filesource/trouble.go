package filesource

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode"
)

// printable returns a path as it is, or quoted if it has characters that would break
// a message or a line of a log.
func printable(path string) string {
	odd := func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }
	if strings.ContainsFunc(path, odd) {
		return strconv.Quote(path)
	}
	return path
}

// A trouble is an error of the system in words that fit into a log and say what to look
// for. It wraps that error.
type trouble struct {
	text string
	err  error
}

func (t *trouble) Error() string { return "filesource: " + t.text }

func (t *trouble) Unwrap() error { return t.err }

// explain returns the trouble for an error of the system.
func explain(err error) error { return &trouble{describe(err), err} }

// explainEdit is explain with advice, for an error of an edit.
func explainEdit(err error) error { return &trouble{describe(err) + advice(err), err} }

func describe(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Op + " " + printable(e.Path) + ": " + e.Err.Error()
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Op + " " + printable(e.Old) + " " + printable(e.New) + ": " + e.Err.Error()
	}
	return err.Error()
}

// advice says what the system's short word for an error is likely to mean here.
func advice(err error) string {
	switch {
	case errors.Is(err, syscall.EBUSY):
		return " (a single file that is mounted cannot be replaced: mount its folder, not the file)"
	case errors.Is(err, syscall.EROFS):
		return " (it is mounted for reading alone: tokens must be created and deleted elsewhere)"
	case errors.Is(err, syscall.EACCES):
		return " (an edit must be able to write to the file's folder, and to read the file)"
	case errors.Is(err, syscall.EPERM):
		return " (the file or its folder may be immutable, see lsattr, or the folder sticky and the file another user's)"
	default:
		return ""
	}
}
