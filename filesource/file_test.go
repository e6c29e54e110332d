package filesource_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

// Lines that authenticate "supersecret", cheaply: {SSHA256} by Python's hashlib,
// see testdata/make.py.
const (
	hashA = "{SSHA256}AAECAwQFBgc=" + "wWZbSSQlbfWMkwfCRhqHNxCEGLEUTKc/nNCOWZOfNzc="
	hashB = "{SSHA256}CAkKCwwNDg8=" + "vEuW7B+dwmL7Gf3H101R8NWJKaBVpnMRCcpgTjlTDpg="
)

// write writes a file of the test and returns its path.
func write(t testing.TB, path string, lines ...string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func tokensPath(t testing.TB) string { return filepath.Join(t.TempDir(), "service_tokens") }

const (
	lineOne = one + ":" + hashA + "\n"
	lineTwo = two + ":" + hashA + "\n"
)

func has(file *filesource.File, names ...string) bool {
	for _, name := range names {
		if id, err := tokencache.ParseTokenID(name); err != nil || !file.MayHold(id) {
			return false
		}
	}
	return true
}

func put(t testing.TB, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens a file that is closed at the test's end, and a cache on it.
func open(t testing.TB, path string, cfg filesource.Config) (*filesource.File, *tokencache.Cache[filesource.Record]) {
	t.Helper()
	file, err := filesource.Open(path, cfg)
	return cached(t, file, err)
}

// openWith is open on a system with faults.
func openWith(t testing.TB, path string, cfg filesource.Config, faults filesource.Faults) (*filesource.File, *tokencache.Cache[filesource.Record]) {
	t.Helper()
	file, err := filesource.OpenWith(path, cfg, faults)
	return cached(t, file, err)
}

func cached(t testing.TB, file *filesource.File, err error) (*filesource.File, *tokencache.Cache[filesource.Record]) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(file.Close)
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	cache, err := tokencache.New(group, "file", file, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cache.Close)
	return file, cache
}

func token(t testing.TB, qualified, secret string) tokencache.Token {
	t.Helper()
	id, err := tokencache.ParseTokenID(qualified)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokencache.NewToken(id, tokencache.NewSecret(secret))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// works reports whether a token of the file authenticates with "supersecret".
func works(t testing.TB, cache *tokencache.Cache[filesource.Record], qualified string) bool {
	t.Helper()
	_, err := cache.AuthenticateToken(t.Context(), token(t, qualified, "supersecret"))
	if err != nil && !errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("%s: %v", qualified, err)
	}
	return err == nil
}

// TestIndependentFile authenticates the bearers that testdata/make.py made beside
// the file, with other libraries.
func TestIndependentFile(t *testing.T) {
	_, cache := open(t, "testdata/service_tokens", filesource.Config{Poll: -1, Rest: -1})
	bearers, err := os.ReadFile("testdata/bearers.tsv")
	if err != nil {
		t.Fatal(err)
	}
	schemes := make(map[string]int)
	for line := range strings.Lines(string(bearers)) {
		name, bearer, _ := strings.Cut(strings.TrimSpace(line), "\t")
		v, err := cache.Authenticate(t.Context(), "Bearer "+bearer)
		if err != nil || v.Token.String() != name {
			t.Errorf("%s: got %+v, %v", name, v, err)
		}
		schemes[v.Record.Scheme]++
		if _, err := cache.AuthenticateToken(t.Context(), token(t, name, "wrong-secret")); !errors.Is(err, tokencache.ErrRefused) {
			t.Errorf("%s with a wrong secret: %v", name, err)
		}
		cache.Clear(context.Background(), tokencache.CauseAsked)
		if _, err := cache.AuthenticateToken(t.Context(), token(t, name, "wrong-secret")); !errors.Is(err, tokencache.ErrRefused) {
			t.Errorf("%s with a wrong secret, from the file: %v", name, err)
		}
	}
	want := map[string]int{"PBKDF2_STRETCH": 3, "PBKDF2": 1, "SSHA256": 1, "bcrypt": 3}
	if diff := cmp.Diff(want, schemes); diff != "" {
		t.Errorf("schemes (-want +got):\n%s", diff)
	}
}

func TestFormat(t *testing.T) {
	const a = "elastic/fleet-server/a"
	for _, test := range []struct {
		name     string
		content  string
		tokens   []string
		warnings []string
	}{
		{"empty", "", nil, nil},
		{"one", a + ":" + hashA + "\n", []string{a}, nil},
		{"no line end", a + ":" + hashA, []string{a}, nil},
		{"CRLF", a + ":" + hashA + "\r\nx/y/z:" + hashA + "\r\n", []string{a, "x/y/z"}, nil},
		{"BOM", "\ufeff" + a + ":" + hashA + "\n", []string{a}, nil},
		{"BOM and comment", "\ufeff# comment\n" + a + ":" + hashA + "\n", []string{a}, nil},
		{"comments and blanks", "# x:y\n\n   \n\t\n" + a + ":" + hashA + "\n#", []string{a}, nil},
		{"white space around", " \t" + a + ":" + hashA + " \t\n", []string{a}, nil},
		{"plaintext", a + ":supersecret\n", nil, []string{"1: " + a + ": skipped: the hash is not a password hash of a known form"}},
		{"empty hash", "\n" + a + ":\n", nil, []string{"2: " + a + ": skipped: the hash is not a password hash of a known form"}},
		{"weak", "#\n" + a + ":{SHA}x\nx/y/z:{MD5}x\n", nil, []string{
			"2: " + a + ": skipped: the hash is a {SHA} or {MD5} hash, which is too weak to use",
			"3: x/y/z: skipped: the hash is a {SHA} or {MD5} hash, which is too weak to use",
		}},
		{"twice", a + ":" + hashA + "\n" + a + ":" + hashB + "\n", []string{a}, []string{"2: " + a + ": replaces an earlier line for the same token"}},
		{"plaintext after a good line", a + ":" + hashA + "\n" + a + ":plain\n", []string{a}, []string{"2: " + a + ": skipped: the hash is not a password hash of a known form"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := tokensPath(t)
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			file, cache := open(t, path, filesource.Config{Poll: -1, Rest: -1})
			var tokens, warnings []string
			for _, id := range file.List() {
				tokens = append(tokens, id.String())
				if !works(t, cache, id.String()) {
					t.Errorf("%v does not work", id)
				}
			}
			for _, w := range file.Status().Warnings {
				warnings = append(warnings, w.String())
			}
			if diff := cmp.Diff(test.tokens, tokens); diff != "" {
				t.Errorf("tokens (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.warnings, warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if st := file.Status(); st.Tokens != len(test.tokens) || st.Err != nil {
				t.Errorf("got %+v", st)
			}
		})
	}
}

// TestNames: the file's names are those that tokencache.ParseTokenID takes.
func TestNames(t *testing.T) {
	parts := []string{"", "a", "Z9", "_", "a_", "-", "-a", "a-", "0", ".", "é", "a b", "*", strings.Repeat("a", 128), strings.Repeat("a", 129), strings.Repeat("b", 256), strings.Repeat("b", 257)}
	names := []string{"a", "a/b", "a/b/c/d", "/a/b/c", "a/b/c/", "//"}
	for _, part := range parts {
		names = append(names, part+"/b/c", "a/"+part+"/c", "a/b/"+part)
	}
	path, good := tokensPath(t), 0
	for _, name := range names {
		_, want := tokencache.ParseTokenID(name)
		file, err := filesource.Open(write(t, path, name+":"+hashA), filesource.Config{Poll: -1, Rest: -1})
		if (err == nil) != (want == nil) || err == nil && len(file.List()) != 1 {
			t.Errorf("%q: got %v, want %v", name, err, want)
		}
		if want == nil {
			good++
		}
		if e, ok := errors.AsType[*tokencache.NameError](want); ok && err != nil && len(name) <= 514 && !strings.HasSuffix(err.Error(), ": the "+e.Field+" before the colon "+e.Rule) {
			t.Errorf("%q: got %v, want it to end like %v", name, err, want)
		}
	}
	if good < 20 || good > len(names)-20 {
		t.Errorf("%d of %d names are good", good, len(names))
	}
}

func TestLastLineWins(t *testing.T) {
	path := write(t, tokensPath(t), "x/y/z:"+hashA, "x/y/z:{SSHA256}AAECAwQFBgc="+strings.Repeat("A", 43)+"=")
	if _, cache := open(t, path, filesource.Config{Poll: -1, Rest: -1}); works(t, cache, "x/y/z") {
		t.Error("the first line still works")
	}
}

func TestBadFile(t *testing.T) {
	path := write(t, tokensPath(t),
		"# line 1",
		"x/y/good:"+hashA,
		"no colon, and perhaps a secret",
		"x/y:"+hashA,
		"x/y/_z:"+hashA,
		"x/y/cost:{PBKDF2}9999$AAECAwQFBgc=$AAECAwQFBgcICQoLDA0ODw==",
		"x/y/salt:{PBKDF2}1000$AAECAwQFBg==$AAECAwQFBgcICQoLDA0ODw==",
		"x/y/\xff:"+hashA,
		" # not in column one",
		"x/y/bcrypt:$2a$04$short",
		"x/y/key:{SSHA256}short",
		strings.Repeat("x", 600),
		"x/y/"+strings.Repeat("z", 600)+":"+hashA,
	)
	_, err := filesource.Open(path, filesource.Config{Rest: -1})
	formatErr, ok := errors.AsType[*filesource.FormatError](err)
	if !ok {
		t.Fatalf("got %v, want a FormatError", err)
	}
	want := "filesource: " + path + " has 11 bad lines, so none of it is used\n" + path + strings.Join([]string{
		":3: a line of 30 bytes: must be a qualified name, a colon and a hash; there is no colon",
		":4: a line of 69 bytes: the qualified name before the colon must be namespace/service/token_name, exactly three parts",
		":5: a line of 72 bytes: the token name before the colon must be 1 to 256 of A-Z a-z 0-9 _ -, not beginning with _",
		":6: x/y/cost: the cost of a PBKDF2 hash must be 1000, 10000, 50000, 100000, 500000 or 1000000",
		":7: x/y/salt: the salt of a PBKDF2 hash must be padded base64 of at least 8 bytes",
		":8: a line of 71 bytes: must be UTF-8",
		":9: a line of 19 bytes: must be a qualified name, a colon and a hash; there is no colon",
		":10: x/y/bcrypt: a bcrypt hash must have 60 characters",
		":11: x/y/key: an SSHA256 hash must be padded base64 of 8 bytes of salt, then of 32 bytes of key",
		":12: a line of 600 bytes: must be a qualified name, a colon and a hash; there is no colon",
		":13: a line of 670 bytes: the qualified name before the colon must have at most 514 bytes",
	}, "\n"+path)
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if formatErr.Path != path || len(formatErr.Lines) != 11 || formatErr.Lines[1].Line != 4 || formatErr.Lines[1].Token != "" || formatErr.Lines[3].Token != "x/y/cost" {
		t.Errorf("got %+v", formatErr)
	}
	for _, secret := range []string{"perhaps a secret", "AAECAw", "9999", "short"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error contains %q", secret)
		}
	}
}

func TestOpenOfWhatIsNoFile(t *testing.T) {
	if _, err := filesource.Open(t.TempDir(), filesource.Config{}); err == nil {
		t.Error("a folder was opened")
	}
	_, err := filesource.Open(filepath.Join(write(t, tokensPath(t)), "below a file"), filesource.Config{})
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	for _, seed := range []string{
		"", "# c\n\nx/y/z:" + hashA + "\r\n", "\ufeffx/y/z:plain", "x/y/z:" + hashA + "\nx/y/z:" + hashB, "x/y:{SHA}\n",
		"x/y/z:{PBKDF2_STRETCH}10000$AAECAwQFBgc=$AAECAwQFBgcICQoLDA0ODw==",
	} {
		f.Add([]byte(seed), "name")
	}
	path := filepath.Join(f.TempDir(), "service_tokens")
	f.Fuzz(func(t *testing.T, content []byte, name string) {
		os.Remove(path)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := filesource.Open(path, filesource.Config{Poll: -1, Rest: -1})
		if err != nil {
			formatErr, ok := errors.AsType[*filesource.FormatError](err)
			if !ok || file != nil || len(formatErr.Lines) == 0 {
				t.Errorf("got %v, %v", file, err)
			}
			return
		}
		// Whatever the file, an edit keeps its tokens, and can be undone.
		before := file.List()
		id := tokencache.TokenID{Account: tokencache.Account{Namespace: "fuzz", Service: "fuzz"}, Name: name}
		if _, err := file.Create(t.Context(), id); err != nil {
			return
		}
		if got := file.List(); len(got) != len(before)+1 {
			t.Errorf("after Create: got %v, want %v and %v", got, before, id)
		}
		if err := file.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, file.List()); diff != "" {
			t.Errorf("after Create and Delete (-want +got):\n%s", diff)
		}
	})
}
