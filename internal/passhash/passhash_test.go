package passhash_test

import (
	"bufio"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/internal/passhash"
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
		if got, want := passhash.Verify(fields[0], string(secret)), fields[2] == "match"; got != want {
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
	secret := "supersecret"
	hash := passhash.Generate(secret)
	if scheme, err := passhash.Check(hash); scheme != "PBKDF2_STRETCH" || err != nil || !strings.HasPrefix(hash, "{PBKDF2_STRETCH}10000$") {
		t.Errorf("got %s, %v", scheme, err)
	}
	if !passhash.Verify(hash, secret) || passhash.Verify(hash, "wrong-secret") {
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
	bcrypt = "$2a$04$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yNa"
)

// One hash for each rule of Check.
const (
	badParts      = "a PBKDF2 hash must be cost, salt and key, with $ between"
	badCost       = "the cost of a PBKDF2 hash must be 1000, 10000, 50000, 100000, 500000 or 1000000"
	badSalt       = "the salt of a PBKDF2 hash must be padded base64 of at least 8 bytes"
	badKey        = "the key of a PBKDF2 hash must be padded base64 of 16, 32, 48 or 64 bytes"
	badLength     = "a bcrypt hash must have 60 characters"
	badBcryptCost = "the cost of a bcrypt hash must be 04 to 14"
	badText       = "the salt and key of a bcrypt hash must be of ./A-Za-z0-9"
	badSSHA256    = "an SSHA256 hash must be padded base64 of 8 bytes of salt, then of 32 bytes of key"
)

func TestCheckRejects(t *testing.T) {
	for _, test := range []struct{ name, hash, message string }{
		{"empty", "", passhash.ErrUnknown.Error()},
		{"plaintext", "supersecret", passhash.ErrUnknown.Error()},
		{"another form", "{SSHA}AAAA", passhash.ErrUnknown.Error()},
		{"old bcrypt", "$2x$04$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yNa", passhash.ErrUnknown.Error()},
		{"SHA", "{SHA}AAAA", passhash.ErrWeak.Error()},
		{"MD5", "{MD5}AAAA", passhash.ErrWeak.Error()},
		{"cost", "{PBKDF2}9999$" + salt32 + "$" + key32, badCost},
		{"cost with a zero before", "{PBKDF2}010000$" + salt32 + "$" + key32, badCost},
		{"no cost", "{PBKDF2_STRETCH}$" + salt32 + "$" + key32, badCost},
		{"one part", "{PBKDF2}1000", badParts},
		{"two parts", "{PBKDF2}1000$" + salt32, badParts},
		{"four parts", "{PBKDF2}1000$" + salt32 + "$" + key32 + "$" + key32, badKey},
		{"short salt", "{PBKDF2}1000$" + salt7 + "$" + key32, badSalt},
		{"bad salt", "{PBKDF2}1000$!" + salt32[1:] + "$" + key32, badSalt},
		{"unpadded salt", "{PBKDF2}1000$" + strings.TrimRight(salt32, "=") + "$" + key32, badSalt},
		{"line break in the salt", "{PBKDF2}1000$" + salt32[:4] + "\r" + salt32[4:] + "$" + key32, badSalt},
		{"line feed in the salt", "{PBKDF2}1000$" + salt32[:4] + "\n" + salt32[4:] + "$" + key32, badSalt},
		{"line feed in the key", "{PBKDF2_STRETCH}1000$" + salt32 + "$" + key32[:4] + "\n" + key32[4:], badKey},
		{"key of 17 bytes", "{PBKDF2}1000$" + salt32 + "$" + base64.StdEncoding.EncodeToString(make([]byte, 17)), badKey},
		{"key of 65 bytes", "{PBKDF2}1000$" + salt32 + "$" + base64.StdEncoding.EncodeToString(make([]byte, 65)), badKey},
		{"URL-safe salt", "{PBKDF2}1000$" + strings.Replace(salt32, "A", "-", 1) + "$" + key32, badSalt},
		{"short key", "{PBKDF2}1000$" + salt32 + "$" + salt7, badKey},
		{"no key", "{PBKDF2}1000$" + salt32 + "$", badKey},
		{"bcrypt too short", "$2a$04$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yN", badLength},
		{"bcrypt too cheap", "$2a$03$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yNa", badBcryptCost},
		{"bcrypt alone", "$2a", passhash.ErrUnknown.Error()},
		{"bcrypt and no cost", "$2a$", badLength},
		{"bcrypt too long", bcrypt + "a", badLength},
		{"bcrypt with another separator", bcrypt[:6] + "." + bcrypt[7:], badBcryptCost},
		{"bcrypt with another first separator", "$2a." + bcrypt[4:], passhash.ErrUnknown.Error()},
		{"bcrypt cost not a number, second digit", bcrypt[:5] + ":" + bcrypt[6:], badBcryptCost},
		{"bcrypt cost not a number, below the digits", bcrypt[:4] + "1/" + bcrypt[6:], badBcryptCost},
		{"bcrypt with a line feed", bcrypt[:59] + "\n", badText},
		{"bcrypt too expensive", "$2a$15$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yNa", badBcryptCost},
		{"bcrypt cost not a number", "$2a$0x$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yNa", badBcryptCost},
		{"bcrypt alphabet", "$2a$04$abcdefghijklmnopqrst+uToT0LAsoQ9PgZuCq77K74UDXwTR/yNa", badText},
		{"bcrypt alphabet, first character", bcrypt[:7] + "+" + bcrypt[8:], badText},
		{"cost and salt", "{PBKDF2}9999$" + salt7 + "$" + key32, badCost},
		{"SSHA256 too short", "{SSHA256}AAECAwQFBgc=", badSSHA256},
		{"SSHA256 too long", "{SSHA256}AAECAwQFBgc=" + key32 + "A", badSSHA256},
		{"SSHA256 bad salt", "{SSHA256}AAECAwQFBg!=" + key32, badSSHA256},
		{"SSHA256 salt of 7 bytes", "{SSHA256}AAECAwQFBg==" + key32, badSSHA256},
		{"SSHA256 salt of 9 bytes", "{SSHA256}AAECAwQFBgcI" + key32, badSSHA256},
		{"SSHA256 line feed in the salt", "{SSHA256}AAEC\nAwQFBgc" + key32, badSSHA256},
		{"SSHA256 line feed in the key", "{SSHA256}AAECAwQFBgc=" + key32[:4] + "\n" + key32[5:], badSSHA256},
		{"SSHA256 key of 31 bytes", "{SSHA256}AAECAwQFBgc=" + base64.StdEncoding.EncodeToString(make([]byte, 31)), badSSHA256},
		{"SSHA256 key of 33 bytes", "{SSHA256}AAECAwQFBgc=" + base64.StdEncoding.EncodeToString(make([]byte, 33)), badSSHA256},
		{"SSHA256 bad base64", "{SSHA256}AAECAwQFBgc=" + key32[:43] + "!", badSSHA256},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := passhash.Check(test.hash)
			if err == nil || err.Error() != test.message {
				t.Errorf("got %v, want %q", err, test.message)
			}
			if passhash.Verify(test.hash, "supersecret") {
				t.Error("it verifies")
			}
		})
	}
}

// TestCheckAccepts has hashes at the limits of the rules. It verifies none of them, since
// that takes seconds.
func TestCheckAccepts(t *testing.T) {
	b64 := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, test := range []struct{ name, hash, scheme string }{
		{"bcrypt, cost 04", bcrypt, "bcrypt"},
		{"bcrypt, cost 09", bcrypt[:4] + "09" + bcrypt[6:], "bcrypt"},
		{"bcrypt, cost 14", bcrypt[:4] + "14" + bcrypt[6:], "bcrypt"},
		{"PBKDF2, shortest salt and key", "{PBKDF2}1000$" + b64(8) + "$" + b64(16), "PBKDF2"},
		{"PBKDF2, longest key", "{PBKDF2}1000000$" + b64(8) + "$" + b64(64), "PBKDF2"},
		{"PBKDF2, a salt of 1000 bytes", "{PBKDF2_STRETCH}1000$" + b64(1000) + "$" + b64(48), "PBKDF2_STRETCH"},
		{"SSHA256", "{SSHA256}" + b64(8) + b64(32), "SSHA256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if scheme, err := passhash.Check(test.hash); scheme != test.scheme || err != nil {
				t.Errorf("got %q, %v, want %q", scheme, err, test.scheme)
			}
		})
	}
}

// TestVerifyRefusesWhatCheckRefuses has hashes that a secret would match if Verify
// computed them without checking.
func TestVerifyRefusesWhatCheckRefuses(t *testing.T) {
	const secret = "supersecret"
	sum := sha256.Sum256([]byte(secret + "saltsalt"))
	ssha := "{SSHA256}" + base64.StdEncoding.EncodeToString([]byte("saltsalt")) + base64.StdEncoding.EncodeToString(sum[:])
	if !passhash.Verify(ssha, secret) {
		t.Fatal("the hash without a fault does not match")
	}
	key := func(iterations, salt int) string {
		saltBytes := make([]byte, salt)
		key, err := pbkdf2.Key(sha512.New, secret, saltBytes, iterations, 32)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("{PBKDF2}%d$%s$%s", iterations, base64.StdEncoding.EncodeToString(saltBytes), base64.StdEncoding.EncodeToString(key))
	}
	if !passhash.Verify(key(1000, 8), secret) {
		t.Fatal("the hash without a fault does not match")
	}
	for _, hash := range []string{
		key(1, 8), key(1001, 8), key(1000, 7), key(1000, 8) + "\n", strings.Replace(key(1000, 8), "$", "$\n", 1),
		ssha + "\n", ssha[:9] + "\r" + ssha[9:], ssha[:20] + "\n" + ssha[20:], "{PBKDF2}1000$$", "{PBKDF2}1000$AAAAAAAAAAA=$",
	} {
		if passhash.Verify(hash, secret) || passhash.Verify(hash, "") {
			t.Errorf("%q matches", hash)
		}
	}
}

// TestNothingIsShown: no error shows anything of the hash.
func TestNothingIsShown(t *testing.T) {
	for _, hash := range []string{
		"hunter2hunter2", "{SHA}hunter2", "{PBKDF2}hunter2$a$b", "{PBKDF2}1000$hunter2$b", "{PBKDF2}1000$" + salt32 + "$hunter2",
		"$2a$hunter2", "$2a$04$hunter2" + strings.Repeat("!", 46), "{SSHA256}hunter2",
	} {
		if _, err := passhash.Check(hash); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
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
		// Verify must take every hash that Check accepts, without a panic, whatever the
		// secret. Expensive hashes are left out.
		if err == nil && (strings.HasPrefix(hash, "{PBKDF2}1000$") || strings.HasPrefix(hash, "{SSHA256}")) {
			passhash.Verify(hash, "supersecret")
		}
	})
}
