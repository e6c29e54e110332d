package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

const fileID = "elastic/fleet-server/token1"

// fileWith makes a file of tokens, and returns the store's name.
func fileWith(t *testing.T, lines ...string) (store, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "service_tokens")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + path, path
}

func lineOf(id string) string {
	return id + ":" + tokenhash.New(tokencache.GenerateSecret()).Reveal()
}

// TestRotationsAtOnce: each succeeds, and the file has the token at every moment.
func TestRotationsAtOnce(t *testing.T) {
	store, path := fileWith(t, lineOf(fileID))
	done := make(chan struct{})
	var looks sync.WaitGroup
	looks.Go(func() {
		for {
			text, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(text), fileID+":") {
				t.Errorf("the token is not there: %q, %v", text, err)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	out := t.TempDir()
	var group sync.WaitGroup
	for i := range 5 {
		group.Go(func() {
			if code, _, errs := admin(t, "-store", store, "-out", fmt.Sprint(out, "/", i), "rotate", fileID); code != 0 {
				t.Errorf("rotation %d: got %d, %s", i, code, errs)
			}
		})
	}
	group.Wait()
	close(done)
	looks.Wait()
}

// TestLinesThatAreNotInForce: list names them on standard error, create says why it
// refuses, and rotate makes them good.
func TestLinesThatAreNotInForce(t *testing.T) {
	store, _ := fileWith(t, fileID+":plaintext", lineOf("elastic/fleet-server/token2"))
	out := filepath.Join(t.TempDir(), "bearer")
	for _, test := range []struct {
		verb           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"list"}, done, "elastic/fleet-server/token2\tenabled\n", fileID + ": skipped"},
		{[]string{"-out", out, "create", fileID}, conflict, "", "not in force"},
		{[]string{"-out", out, "rotate", fileID}, done, "", ""},
		{[]string{"list"}, done, fileID + "\tenabled\nelastic/fleet-server/token2\tenabled\n", ""},
	} {
		code, stdout, stderr := admin(t, append([]string{"-store", store}, test.verb...)...)
		if code != test.code || stdout != test.stdout || !strings.Contains(stderr, test.stderr) || strings.Contains(stderr, "plaintext") {
			t.Errorf("%v: got %d, %q, %q", test.verb, code, stdout, stderr)
		}
	}
}

// TestUnknownStore names the file among what a store may be.
func TestUnknownStore(t *testing.T) {
	if code, _, errs := admin(t, "-store", "nosuch:x", "list"); code != misused || !strings.Contains(errs, "or file:PATH") {
		t.Errorf("got %d, %s", code, errs)
	}
}
