package passhash_test

import (
	"bufio"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/internal/passhash"
	"github.com/svctoken/svctoken/tokencache"
)

// TestIndependentHashes verifies hashes that testdata/hashes.py made with other
// libraries.
func TestIndependentHashes(t *testing.T) {
	f, err := os.Open("testdata/hashes.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	matched := make(map[string]int)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), "\t")
		secret, err := hex.DecodeString(fields[1])
		if err != nil {
			t.Fatal(err)
		}
		if testing.Short() && strings.Contains(fields[0], "}1000000$") {
			continue
		}
		scheme, err := passhash.Check(fields[0])
		if err != nil {
			t.Errorf("%s: %v", fields[0], err)
		}
		if got, want := passhash.Verify(fields[0], tokencache.NewSecret(string(secret))), fields[2] == "match"; got != want {
			t.Errorf("%s with %q: got %v, want %v", fields[0], secret, got, want)
		} else if got {
			matched[scheme]++
		}
	}
	for _, scheme := range []string{"PBKDF2", "PBKDF2_STRETCH", "bcrypt", "SSHA256"} {
		if matched[scheme] == 0 {
			t.Errorf("no %s hash was matched", scheme)
		}
	}
}

func TestGenerate(t *testing.T) {
	secret := tokencache.NewSecret("supersecret")
	hash := passhash.Generate(secret)
	if scheme, err := passhash.Check(hash); scheme != "PBKDF2_STRETCH" || err != nil || !strings.HasPrefix(hash, "{PBKDF2_STRETCH}10000$") {
		t.Errorf("got %s, %v", scheme, err)
	}
	if !passhash.Verify(hash, secret) || passhash.Verify(hash, tokencache.NewSecret("wrong-secret")) {
		t.Error("the hash does not tell its secret from another")
	}
	if hash == passhash.Generate(secret) {
		t.Error("two hashes share their salt")
	}
}

const (
	salt32 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	key32  = salt32
	salt7  = "AAECAwQFBg=="
)

func TestCheckRejects(t *testing.T) {
	for _, test := range []struct{ name, hash, message string }{
		{"empty", "", passhash.ErrUnknown.Error()},
		{"plaintext", "supersecret", passhash.ErrUnknown.Error()},
		{"another form", "{SSHA}AAAA", passhash.ErrUnknown.Error()},
		{"old bcrypt", "$2x$04$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yNa", passhash.ErrUnknown.Error()},
		{"SHA", "{SHA}AAAA", passhash.ErrWeak.Error()},
		{"MD5", "{MD5}AAAA", passhash.ErrWeak.Error()},
		{"cost", "{PBKDF2}9999$" + salt32 + "$" + key32, "the cost of a PBKDF2 hash"},
		{"cost with a zero before", "{PBKDF2}010000$" + salt32 + "$" + key32, "the cost of a PBKDF2 hash"},
		{"no cost", "{PBKDF2_STRETCH}$" + salt32 + "$" + key32, "the cost of a PBKDF2 hash"},
		{"one part", "{PBKDF2}1000", "cost, salt and key"},
		{"two parts", "{PBKDF2}1000$" + salt32, "cost, salt and key"},
		{"four parts", "{PBKDF2}1000$" + salt32 + "$" + key32 + "$" + key32, "the key of a PBKDF2 hash"},
		{"short salt", "{PBKDF2}1000$" + salt7 + "$" + key32, "the salt of a PBKDF2 hash"},
		{"bad salt", "{PBKDF2}1000$!" + salt32[1:] + "$" + key32, "the salt of a PBKDF2 hash"},
		{"unpadded salt", "{PBKDF2}1000$" + strings.TrimRight(salt32, "=") + "$" + key32, "the salt of a PBKDF2 hash"},
		{"line break in the salt", "{PBKDF2}1000$" + salt32[:4] + "\r" + salt32[4:] + "$" + key32, "the salt of a PBKDF2 hash"},
		{"short key", "{PBKDF2}1000$" + salt32 + "$" + salt7, "the key of a PBKDF2 hash"},
		{"no key", "{PBKDF2}1000$" + salt32 + "$", "the key of a PBKDF2 hash"},
		{"bcrypt too short", "$2a$04$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yN", "must have 60 characters"},
		{"bcrypt too cheap", "$2a$03$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yNa", "04 to 14"},
		{"bcrypt too dear", "$2a$15$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yNa", "04 to 14"},
		{"bcrypt cost not a number", "$2a$0x$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yNa", "04 to 14"},
		{"bcrypt alphabet", "$2a$04$abcdefghijklmnopqrst+uToT0LAsoQ9PgZuCq77K74UDXwTR/yNa", "./A-Za-z0-9"},
		{"SSHA256 too short", "{SSHA256}AAECAwQFBgc=", "an SSHA256 hash"},
		{"SSHA256 bad base64", "{SSHA256}AAECAwQFBgc=" + key32[:43] + "!", "an SSHA256 hash"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := passhash.Check(test.hash)
			if err == nil || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v, want it to say %q", err, test.message)
			}
			if passhash.Verify(test.hash, tokencache.NewSecret("supersecret")) {
				t.Error("it verifies")
			}
		})
	}
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		"{PBKDF2}1000$" + salt32 + "$" + key32, "{PBKDF2_STRETCH}1000$" + salt32 + "$" + key32,
		"$2a$04$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yNa", "{SSHA256}AAECAwQFBgc=" + key32, "{SHA}", "plain",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, hash string) {
		scheme, err := passhash.Check(hash)
		if (scheme == "") != (errors.Is(err, passhash.ErrUnknown) || errors.Is(err, passhash.ErrWeak)) {
			t.Errorf("got scheme %q with %v", scheme, err)
		}
		// What Check accepts must be verifiable: no panic, whatever the secret. The
		// costly ones are left out.
		if err == nil && (strings.HasPrefix(hash, "{PBKDF2}1000$") || strings.HasPrefix(hash, "{SSHA256}")) {
			passhash.Verify(hash, tokencache.NewSecret("supersecret"))
		}
	})
}
