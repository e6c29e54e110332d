package fleetsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// ErrReplaced is wrapped by the errors of a log on SQLite while another file is in the
// place of the one that it opened, for example after a restore, or once the files -wal
// and -shm beside it were deleted: open connections go on in the old files, which nobody
// else sees. Put the file back, or restart the process.
var ErrReplaced = errors.New("another file stands in the place of the log's")

// An openedFile is the file of SQLite that a log has opened, with the files beside it in
// WAL mode.
type openedFile struct {
	path string // without symbolic links
	info os.FileInfo

	mu     sync.Mutex             // guards the field below
	beside map[string]os.FileInfo // as they were seen last, by suffix
}

// noteFile notes which file SQLite has opened.
func (l *Log) noteFile(ctx context.Context) error {
	if l.dialect != SQLite {
		return nil
	}
	var path sql.NullString
	if err := l.db.QueryRowContext(ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&path); err != nil {
		return wrap("open", err)
	}
	if path.String == "" {
		return errors.New("fleetsql: open: the database is in memory, and has nothing to share")
	}
	f := &openedFile{path: path.String, beside: make(map[string]os.FileInfo)}
	if real, err := filepath.EvalSymlinks(f.path); err == nil {
		f.path = real
	}
	var err error
	if f.info, err = os.Stat(f.path); err != nil {
		return wrap("open", err)
	}
	l.file = f
	return f.check()
}

// check returns an error if a file is not the one that was opened.
func (f *openedFile) check() error {
	if f == nil {
		return nil
	}
	now, err := os.Stat(f.path)
	if err != nil || !os.SameFile(f.info, now) {
		return fmt.Errorf("fleetsql: %w", ErrReplaced)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, suffix := range []string{"-wal", "-shm"} {
		now, err := os.Stat(f.path + suffix)
		known := f.beside[suffix]
		switch {
		case known != nil && os.SameFile(known, now):
		case known != nil && holdsUnlinked(f.path+suffix):
			return fmt.Errorf("fleetsql: its %s was deleted: %w", suffix, ErrReplaced)
		case err == nil: // the last connection removes it when it closes, and the next one makes another
			f.beside[suffix] = now
		default:
			delete(f.beside, suffix)
		}
	}
	return nil
}
