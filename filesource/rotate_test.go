//go:build linux

package filesource_test

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

// TestRotate: the new secret is good and the old one is not; every line of the token
// becomes one, below its comments, and all else stays.
func TestRotate(t *testing.T) {
	for _, test := range []struct{ name, before, after string }{
		{"sorted", "# top\n\n# of one\n" + lineOne + "# of two\n" + lineTwo, "# top\n\n# of one\n" + one + ":NEW\n# of two\n" + lineTwo},
		{"last", lineTwo + lineOne, one + ":NEW\n" + lineTwo},
		{"twice", "# first\n" + lineOne + lineTwo + "# second\n" + strings.Replace(lineOne, hashA, hashB, 1), "# first\n# second\n" + one + ":NEW\n" + lineTwo},
		{"not in force", one + ":plaintext\n" + lineTwo, one + ":NEW\n" + lineTwo},
		{"begins like another", lineOne + one + "-2:" + hashA + "\n", one + ":NEW\n" + one + "-2:" + hashA + "\n"},
		{"without a line end", strings.TrimSpace(lineOne), one + ":NEW\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := put(t, tokensPath(t), test.before)
			file, cache := open(t, path, filesource.Config{Poll: -1, Rest: -1})
			works(t, cache, one)
			token, err := file.Rotate(t.Context(), fleet.TokenID("one"))
			if err != nil {
				t.Fatal(err)
			}
			if works(t, cache, one) {
				t.Error("the old secret is good")
			}
			if _, err := cache.AuthenticateToken(t.Context(), token); err != nil {
				t.Errorf("the new secret: %v", err)
			}
			answer, err := file.Lookup(t.Context(), fleet.TokenID("one"))
			if err != nil || answer.Record.Scheme != "PBKDF2_STRETCH" || answer.Fast {
				t.Errorf("got %+v, %v", answer, err)
			}
			text := read(t, path)
			begin := strings.Index(text, one+":") + len(one+":")
			end := begin + strings.Index(text[begin:], "\n")
			if diff := cmp.Diff(test.after, text[:begin]+"NEW"+text[end:]); diff != "" {
				t.Errorf("the file (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRotateOfNothing: it changes nothing, and returns no secret.
func TestRotateOfNothing(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	for _, name := range []string{"two", "on", "one-2"} {
		if token, err := file.Rotate(t.Context(), fleet.TokenID(name)); !errors.Is(err, tokencache.ErrNotFound) || token.Secret().Len() > 0 || read(t, path) != lineOne {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := file.Rotate(t.Context(), fleet.TokenID("_x")); err == nil || errors.Is(err, tokencache.ErrNotFound) {
		t.Errorf("an invalid name: got %v", err)
	}
	missing, _ := open(t, tokensPath(t), filesource.Config{Poll: -1, Rest: -1})
	if _, err := missing.Rotate(t.Context(), fleet.TokenID("one")); !errors.Is(err, tokencache.ErrNotFound) || len(folder(t, missing.Path())) > 0 {
		t.Errorf("a missing file: got %v", err)
	}
}

// TestRotationsAtOnce: each returns a secret, and the last one's is good. The token is in
// force at every moment.
func TestRotationsAtOnce(t *testing.T) {
	path := put(t, tokensPath(t), lineOne+lineTwo)
	var mu sync.Mutex
	var made []tokencache.Token
	server, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
			token, err := file.Rotate(t.Context(), fleet.TokenID("one"))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			made = append(made, token)
		})
		group.Go(func() {
			if err := server.Reload(); err != nil || !has(server, one, two) {
				t.Errorf("got %v, %v", err, server.List())
			}
		})
	}
	group.Wait()
	if err := server.Reload(); err != nil {
		t.Fatal(err)
	}
	answer, err := server.Lookup(t.Context(), fleet.TokenID("one"))
	good := 0
	for _, token := range made {
		if answer.Verify(token.Secret()) {
			good++
		}
	}
	if err != nil || good != 1 || len(made) != 10 {
		t.Errorf("%d of %d secrets are good, %v", good, len(made), err)
	}
}

// TestRotateMeanwhile: the file is replaced right after the rename. The secret is put
// into that as well, unless it lacks the token.
func TestRotateMeanwhile(t *testing.T) {
	for text, want := range map[string]error{lineOne + lineTwo: nil, lineTwo: tokencache.ErrNotFound} {
		path, renamed := put(t, tokensPath(t), lineOne), false
		file, cache := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{After: func(op, _ string) {
			if op == "rename" && !renamed {
				renamed = true
				put(t, path+"~", text)
				os.Rename(path+"~", path)
			}
		}})
		token, err := file.Rotate(t.Context(), fleet.TokenID("one"))
		if !errors.Is(err, want) || (token.Secret().Len() > 0) != (want == nil) || want == nil && !has(file, two) {
			t.Errorf("got %v, %v", err, file.List())
		}
		if want == nil {
			if _, err := cache.AuthenticateToken(t.Context(), token); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestFastHash: a new token is cheap to verify, and Lookup says so.
func TestFastHash(t *testing.T) {
	path := put(t, tokensPath(t), lineTwo)
	file, cache := open(t, path, filesource.Config{Poll: -1, Rest: -1, FastHash: true})
	token, err := file.Create(t.Context(), fleet.TokenID("one"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := file.Lookup(t.Context(), fleet.TokenID("one"))
	if err != nil || answer.Record.Scheme != "SSHA256" || !answer.Fast || !answer.Verify(token.Secret()) {
		t.Errorf("got %+v, %v", answer, err)
	}
	if _, err := cache.AuthenticateToken(t.Context(), token); err != nil {
		t.Error(err)
	}
}
