package fleetsql_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
)

func tempFile(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFiles: a log on SQLite knows the file that it has opened, and those beside it,
// whatever happens to their names, and whether it was opened by a link.
func TestFiles(t *testing.T) {
	const replaced = "another file stands in the place of the log's"
	const fleet, wal, shm = "fleetsql: " + replaced, "fleetsql: its -wal was deleted: " + replaced, "fleetsql: its -shm was deleted: " + replaced
	type step struct{ do, file, want string }
	for _, test := range []struct {
		name  string
		linux bool // it needs the list of open files
		steps []step
	}{
		{"nothing", false, []step{{"create", "-other", ""}}},
		{"removed", false, []step{{"remove", "", fleet}, {"create", "-other", fleet}}},
		{"replaced", false, []step{{"replace", "", fleet}}},
		{"files that come and go", false, []step{
			{"create", "-wal", ""}, {"create", "-shm", ""}, {"remove", "-wal", ""}, {"remove", "-shm", ""}, {"create", "-wal", ""}, {"create", "-shm", ""},
		}},
		{"an open -wal", true, []step{
			{"create", "-wal", ""}, {"remove", "-wal", ""}, {"open", "-wal", ""}, {"create", "-shm", ""}, {"remove", "-wal", wal}, {"create", "-wal", wal},
		}},
		{"an open -shm", true, []step{
			{"open", "-shm", ""}, {"create", "-wal", ""}, {"remove", "-wal", ""}, {"remove", "-shm", shm}, {"create", "-shm", shm},
		}},
		{"another open file", true, []step{{"open", "-wal", ""}, {"open", "-other", ""}, {"remove", "-other", ""}}},
	} {
		for _, link := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, by a link: %t", test.name, link), func(t *testing.T) {
				if test.linux && runtime.GOOS != "linux" {
					t.Skip("it needs /proc")
				}
				f := newSQLite(t)
				path := f.path
				if link {
					f.path = filepath.Join(t.TempDir(), "link")
					if err := os.Symlink(path, f.path); err != nil {
						t.Fatal(err)
					}
				}
				l := f.open(t, fleetsql.SQLite, fleetsql.Config{})
				follower := following(t, l, 1)
				for i, step := range test.steps {
					happens(t, step.do, path+step.file)
					f.write("start")
					for name, call := range map[string]func() error{
						"Append": func() error { _, err := l.Append(t.Context(), fleetlog.Entry{Key: "start", ID: "id"}); return err },
						"Read":   func() error { _, err := l.Read(t.Context(), "start"); return err },
						"Follow": func() error { _, err := l.Follow(t.Context(), 1); return err },
						"Next":   func() error { _, err := follower.Next(t.Context()); return err },
					} {
						err := call()
						if err == nil != (step.want == "") || err != nil && (err.Error() != step.want || !errors.Is(err, fleetsql.ErrReplaced)) {
							t.Errorf("step %d: %s: got %v, want %s", i+1, name, err, step.want)
						}
					}
				}
			})
		}
	}
}

// happens does something to a file. What it opens is open until the end of the test.
func happens(t *testing.T, do, path string) {
	t.Helper()
	var err error
	switch do {
	case "create":
		err = os.WriteFile(path, nil, 0o666)
	case "open":
		var f *os.File
		if f, err = os.Create(path); err == nil {
			t.Cleanup(func() { f.Close() })
		}
	case "remove":
		err = os.Remove(path)
	case "replace":
		err = errors.Join(os.WriteFile(path+".new", nil, 0o666), os.Rename(path+".new", path))
	}
	if err != nil {
		t.Fatal(err)
	}
}
