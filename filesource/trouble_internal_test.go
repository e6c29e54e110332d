package filesource

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestTrouble: an error says on one line what was tried, with which files, and what the
// system said, and wraps the system's error.
func TestTrouble(t *testing.T) {
	other := errors.New("other")
	for _, test := range []struct {
		err  error
		want string
	}{
		{&fs.PathError{Op: "open", Path: "/a", Err: syscall.ENOENT}, "filesource: open /a: no such file or directory"},
		{&fs.PathError{Op: "open", Path: "/a\nb", Err: other}, `filesource: open "/a\nb": other`},
		{&os.LinkError{Op: "rename", Old: "/a", New: "/b", Err: other}, "filesource: rename /a /b: other"},
		{&os.LinkError{Op: "rename", Old: "/a\x00", New: "/b\n", Err: other}, `filesource: rename "/a\x00" "/b\n": other`},
		{other, "filesource: other"},
	} {
		for _, err := range []error{explain(test.err), explainEdit(test.err)} {
			if err.Error() != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		}
	}
	for errno, advice := range map[syscall.Errno]string{
		syscall.EBUSY: "mount its folder", syscall.EROFS: "reading alone", syscall.EACCES: "must be able to write", syscall.EPERM: "immutable",
	} {
		if got := explainEdit(errno).Error(); !strings.HasPrefix(got, "filesource: "+errno.Error()+" (") || !strings.Contains(got, advice) {
			t.Errorf("got %q, want %q", got, advice)
		}
	}
}
