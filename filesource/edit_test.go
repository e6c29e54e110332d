package filesource_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

var fleet = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCreateAndDelete(t *testing.T) {
	path := tokensPath(t)
	file, cache := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	created, err := file.Create(t.Context(), fleet.TokenID("new"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want mode 0600", info.Mode(), err)
	}
	if !strings.HasPrefix(read(t, path), "elastic/fleet-server/new:{PBKDF2_STRETCH}10000$") {
		t.Errorf("got %q", read(t, path))
	}
	v, err := cache.Authenticate(t.Context(), "Bearer "+created.RevealBearer())
	if err != nil || v.Record.Scheme != "PBKDF2_STRETCH" {
		t.Errorf("the new token: got %+v, %v", v, err)
	}

	_, err = file.Create(t.Context(), fleet.TokenID("new"))
	if !errors.Is(err, tokencache.ErrExists) || err.Error() != "tokencache: token exists: elastic/fleet-server/new in "+path {
		t.Errorf("a second Create: got %v", err)
	}
	if _, err := file.Create(t.Context(), fleet.TokenID("_x")); err == nil {
		t.Error("an invalid name was accepted")
	}
	if err := file.Delete(t.Context(), fleet.TokenID("nobody")); !errors.Is(err, tokencache.ErrNotFound) {
		t.Errorf("Delete of an unknown token: got %v", err)
	}
	if err := file.Delete(t.Context(), fleet.TokenID("new")); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.AuthenticateToken(t.Context(), created); !errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("the deleted token: got %v", err)
	}
	if got := read(t, path); got != "\n" {
		t.Errorf("got %q, want a blank line", got)
	}
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); strings.Count(got, "\n") != 1 {
		t.Errorf("got %q, want a line", got)
	}
}

// TestEditsOfInvalidNames: they touch nothing.
func TestEditsOfInvalidNames(t *testing.T) {
	path := tokensPath(t)
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	for _, id := range []tokencache.TokenID{{}, fleet.TokenID(""), fleet.TokenID("a\nb"), fleet.TokenID("*")} {
		_, created := file.Create(t.Context(), id)
		for what, err := range map[string]error{"Create": created, "Delete": file.Delete(t.Context(), id)} {
			if _, ok := errors.AsType[*tokencache.NameError](err); !ok {
				t.Errorf("%s %q: got %q", what, id.Name, err)
			}
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) > 0 {
		t.Errorf("got %v, %v", entries, err)
	}
}

func TestEditKeepsTheRest(t *testing.T) {
	lines := []string{
		"# Managed by ops", "", "# for the second", "x/y/b:" + hashA, "", "# weak", "x/y/c:{SHA}x",
		"x/y/a:" + hashA, "x/y/a:" + hashB, "# the end",
	}
	path := write(t, tokensPath(t), lines...)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(filepath.Dir(path), "link")
	if err := os.Symlink("service_tokens", link); err != nil {
		t.Fatal(err)
	}
	file, _ := open(t, link, filesource.Config{Poll: -1, Rest: -1})
	if _, err := file.Create(t.Context(), tokencache.Account{Namespace: "x", Service: "y"}.TokenID("aa")); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(read(t, path), "\n"), "\n")
	want := []string{
		"# Managed by ops", "", "x/y/a:" + hashA, "x/y/a:" + hashB, "x/y/aa:...",
		"# for the second", "x/y/b:" + hashA, "", "# weak", "x/y/c:{SHA}x", "# the end",
	}
	for i := range got {
		if strings.HasPrefix(got[i], "x/y/aa:") {
			got[i] = "x/y/aa:..."
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got mode %v, %v, want 0640", info.Mode(), err)
	}
	// Both lines of a go, and the comment above it stays.
	for _, name := range []string{"a", "b"} {
		if err := file.Delete(t.Context(), tokencache.Account{Namespace: "x", Service: "y"}.TokenID(name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, path); strings.Contains(got, "x/y/a:") || !strings.Contains(got, "# for the second") || !strings.Contains(got, "# Managed by ops") {
		t.Errorf("got %q", got)
	}
	if diff := cmp.Diff([]string{".service_tokens.lock", "link", "service_tokens"}, folder(t, path)); diff != "" {
		t.Errorf("the folder (-want +got):\n%s", diff)
	}
}

// TestWarningsAfterAnEdit are those of the file that was written.
func TestWarningsAfterAnEdit(t *testing.T) {
	path := write(t, tokensPath(t), "x/y/c:plain", "# comment", "x/y/b:"+hashA, "x/y/b:"+hashB, "x/y/a:{SHA}x")
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	account := tokencache.Account{Namespace: "x", Service: "y"}
	for i, edit := range []func() error{
		func() error { return second(file.Create(t.Context(), account.TokenID("0"))) },
		func() error { return file.Delete(t.Context(), account.TokenID("a")) },
		func() error { return file.Delete(t.Context(), account.TokenID("b")) },
		func() error { return file.Delete(t.Context(), account.TokenID("c")) },
	} {
		if err := edit(); err != nil {
			t.Fatal(err)
		}
		fresh, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
		if diff := cmp.Diff(fresh.Status().Warnings, file.Status().Warnings); diff != "" || len(fresh.Status().Warnings) != 3-i {
			t.Errorf("after edit %d (-Open +edit):\n%s", i, diff)
		}
		if diff := cmp.Diff(fresh.List(), file.List()); diff != "" {
			t.Errorf("after edit %d (-Open +edit):\n%s", i, diff)
		}
	}
}

// folder lists the files beside path.
func folder(t testing.TB, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestEditRefusesABadFile(t *testing.T) {
	path := write(t, tokensPath(t), one+":"+hashA)
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	write(t, path, "bad")
	for _, err := range []error{second(file.Create(t.Context(), fleet.TokenID("new"))), file.Delete(t.Context(), fleet.TokenID("one"))} {
		if _, ok := errors.AsType[*filesource.FormatError](err); !ok {
			t.Errorf("got %v, want a FormatError", err)
		}
	}
	if got := read(t, path); got != "bad\n" {
		t.Errorf("the file was changed to %q", got)
	}
}

func second[T any](_ T, err error) error { return err }

// TestWritersExcludeEachOther lets many writers, on Files of their own, add
// tokens to one file.
func TestWritersExcludeEachOther(t *testing.T) {
	const writers, each = 4, 5
	path := tokensPath(t)
	var wg sync.WaitGroup
	for w := range writers {
		file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
		wg.Go(func() {
			for i := range each {
				if _, err := file.Create(t.Context(), fleet.TokenID(fmt.Sprintf("w%d-%d", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	if got := len(file.List()); got != writers*each {
		t.Errorf("got %d tokens, want %d", got, writers*each)
	}
}

func TestLockHonoursContext(t *testing.T) {
	path := tokensPath(t)
	unlock, err := filesource.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = file.Create(ctx, fleet.TokenID("new"))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another writer holds the lock") {
		t.Errorf("got %v", err)
	}
	unlock()
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
		t.Error(err)
	}
}

// TestEditsWithoutALastLineEnd: the last line stays a line of its own, whatever is added
// below it.
func TestEditsWithoutALastLineEnd(t *testing.T) {
	for _, name := range []string{"two", "a"} {
		path := put(t, tokensPath(t), strings.TrimSpace(lineOne))
		file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
		if _, err := file.Create(t.Context(), fleet.TokenID(name)); err != nil || !has(file, one, "elastic/fleet-server/"+name) || !strings.Contains(read(t, path), lineOne) || strings.Count(read(t, path), "\n") != 2 {
			t.Errorf("%s: got %v, the file is\n%s", name, err, read(t, path))
		}
	}
}

// TestBadNamesAreNotNamed: a bad line's error has no token.
func TestBadNamesAreNotNamed(t *testing.T) {
	_, err := filesource.Open(put(t, tokensPath(t), "a/b:x\nno colon\n"+strings.Repeat("a", 600)+":x\n\xff:x\n"), filesource.Config{Poll: -1, Rest: -1})
	bad, ok := errors.AsType[*filesource.FormatError](err)
	if !ok || len(bad.Lines) != 4 {
		t.Fatalf("got %v", err)
	}
	for _, line := range bad.Lines {
		if line.Token != "" {
			t.Errorf("got %+v", line)
		}
	}
}
