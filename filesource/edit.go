package filesource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/internal/passhash"
	"github.com/svctoken/svctoken/tokencache"
)

var (
	// ErrExists is wrapped by the error of Create for a token that the file has.
	ErrExists = errors.New("filesource: the token exists already")

	// ErrNotFound is wrapped by the error of Delete for a token that the file has
	// not.
	ErrNotFound = errors.New("filesource: no such token")

	errLocked = errors.New("filesource: another writer holds the lock")
)

// Create adds a token with a random secret to the file, as a PBKDF2_STRETCH hash,
// and returns it: the only time that its secret is to be had. The file is
// created, readable for its owner alone, where there is none. When Create
// returns, the caches have been told.
//
// The file is replaced as a whole, at once and durably, with its mode and, where
// permitted, its owner kept; its token lines are sorted, and its comments stay. A
// lock on the folder, for which Create waits until the context is done, keeps out
// other writers that use this package.
//
// The error wraps [ErrExists], is a *tokencache.NameError for an invalid id or a
// [*FormatError] for a file with bad lines, which is left as it is, or says what
// went wrong with reading, locking or writing.
func (f *File) Create(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	line := id.String() + ":" + passhash.Generate(token.Secret().Reveal())
	err = f.edit(ctx, func(l *layout) error {
		if l.index(id) >= 0 {
			return fmt.Errorf("%w: %s in %s", ErrExists, id, f.path)
		}
		l.tokens = append(l.tokens, tokenBlock{id: id, line: line})
		return nil
	})
	if err != nil {
		return tokencache.Token{}, err
	}
	return token, nil
}

// Delete removes a token from the file, with every line that it has, and is
// otherwise like Create. The error wraps [ErrNotFound] where the file has no such
// token.
func (f *File) Delete(ctx context.Context, id tokencache.TokenID) error {
	return f.edit(ctx, func(l *layout) error {
		found := false
		for i := l.index(id); i >= 0; i = l.index(id) {
			l.remove(i)
			found = true
		}
		if !found {
			return fmt.Errorf("%w: %s in %s", ErrNotFound, id, f.path)
		}
		return nil
	})
}

// edit changes the file under the writers' lock, and reloads it.
func (f *File) edit(ctx context.Context, change func(*layout) error) error {
	path, err := filepath.EvalSymlinks(f.path) // a rename would replace the link
	if errors.Is(err, fs.ErrNotExist) {
		path, err = f.path, nil
	}
	if err != nil {
		return fmt.Errorf("filesource: %w", err)
	}
	unlock, err := lock(ctx, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("filesource: %w", err)
	}
	l, err := parseLayout(f.path, string(data))
	if err != nil {
		return err
	}
	if err := change(l); err != nil {
		return err
	}
	if err := replaceFile(path, l.bytes()); err != nil {
		return fmt.Errorf("filesource: %w", err)
	}
	return f.Reload()
}

// lock waits for the writers' lock of a folder.
func lock(ctx context.Context, folder string) (unlock func(), err error) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		unlock, err := tryLock(folder)
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, errLocked) {
			return nil, fmt.Errorf("filesource: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w of %s: %w", errLocked, folder, ctx.Err())
		case <-ticker.C:
		}
	}
}

// replaceFile replaces the file's content at once and durably.
func replaceFile(path string, data []byte) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), ".service_tokens-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		temp.Close()
		if err != nil {
			os.Remove(temp.Name())
		}
	}()
	if old, err := os.Stat(path); err == nil {
		keepOwner(temp, old)
		if err := temp.Chmod(old.Mode().Perm()); err != nil {
			return err
		}
	}
	if _, err := temp.Write(data); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// A layout is a file with all its lines, for editing.
type layout struct {
	header []string // the comments on top, up to their last blank line
	tokens []tokenBlock
	footer []string // what stands below the last token
}

// A tokenBlock is a token's line with the comments and blank lines above it,
// which move with it.
type tokenBlock struct {
	id    tokencache.TokenID
	above []string
	line  string
}

// parseLayout reads a file for editing. The error is a *FormatError.
func parseLayout(path, text string) (*layout, error) {
	if _, err := parse(path, text); err != nil {
		return nil, err
	}
	l := &layout{}
	var above []string
	for raw := range strings.Lines(strings.TrimPrefix(text, bom)) {
		line, kind := trimLine(raw)
		if kind != tokenLine {
			above = append(above, line)
			continue
		}
		id, _, _ := splitLine(line) // parse has been through it
		if l.tokens == nil {
			split := 1 + lastIndex(above, "")
			l.header, above = above[:split:split], above[split:]
		}
		l.tokens = append(l.tokens, tokenBlock{id, above, line})
		above = nil
	}
	l.footer = above
	return l, nil
}

func lastIndex(lines []string, line string) int {
	for i, l := range slices.Backward(lines) {
		if l == line {
			return i
		}
	}
	return -1
}

func (l *layout) index(id tokencache.TokenID) int {
	return slices.IndexFunc(l.tokens, func(b tokenBlock) bool { return b.id == id })
}

// remove removes a token's line; the comments above it stay.
func (l *layout) remove(i int) {
	above := l.tokens[i].above
	l.tokens = slices.Delete(l.tokens, i, i+1)
	if i < len(l.tokens) {
		l.tokens[i].above = slices.Concat(above, l.tokens[i].above)
	} else {
		l.footer = slices.Concat(above, l.footer)
	}
}

// bytes returns the file's content, with the tokens sorted by qualified name; of
// two lines for one token, the last stays last.
func (l *layout) bytes() []byte {
	slices.SortStableFunc(l.tokens, func(a, b tokenBlock) int { return strings.Compare(a.id.String(), b.id.String()) })
	var b bytes.Buffer
	write := func(lines ...string) {
		for _, line := range lines {
			b.WriteString(line)
			b.WriteByte('\n')
		}
	}
	write(l.header...)
	for _, t := range l.tokens {
		write(t.above...)
		write(t.line)
	}
	write(l.footer...)
	return b.Bytes()
}
