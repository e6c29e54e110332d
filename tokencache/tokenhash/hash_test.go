package tokenhash_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

const ofSupersecret = "{SSHA256}AAECAwQFBgc=wWZbSSQlbfWMkwfCRhqHNxCEGLEUTKc/nNCOWZOfNzc="

func parse(t *testing.T, text string) tokenhash.Hash {
	t.Helper()
	hash, err := tokenhash.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// TestNewHashes: each verifies its secret and no other, before and after it was
// stored, and has a salt of its own.
func TestNewHashes(t *testing.T) {
	for _, tt := range []struct {
		name, form string
		make       func(tokencache.Secret) tokenhash.Hash
		fast       bool
	}{
		{"New", "{SSHA256}", tokenhash.New, true},
		{"Stretched", "{PBKDF2_STRETCH}10000$", tokenhash.Stretched, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			secret := tokencache.GenerateSecret()
			made := tt.make(secret)
			for _, hash := range []tokenhash.Hash{made, parse(t, made.Reveal())} {
				if !hash.Verify(secret) || hash.Verify(tokencache.GenerateSecret()) {
					t.Error("it does not verify its secret, or verifies another")
				}
				if !strings.HasPrefix(hash.Reveal(), tt.form) || hash.Fast() != tt.fast {
					t.Errorf("got the form %.16s, fast %t; want %s, %t", hash.Reveal(), hash.Fast(), tt.form, tt.fast)
				}
			}
			if tt.make(secret).Reveal() == made.Reveal() {
				t.Error("two hashes of one secret have one salt")
			}
			if tt.make(tokencache.NewSecret("a secret\x00")).Verify(tokencache.NewSecret("a secret\x00")) {
				t.Error("a secret with a NUL matches")
			}
		})
	}
}

func TestFast(t *testing.T) {
	for text, want := range map[string]bool{
		ofSupersecret: true,
		"{PBKDF2}1000$Jjp4F6YYEcvJUnfxgjCNbQ5FEZf+wYpn9ilu3JCNvtM=$P54fRWFSJkJnrCFmHBHDLpjIUZE6ejWbHqVkRMxyR4E=":         false,
		"{PBKDF2_STRETCH}1000$Jjp4F6YYEcvJUnfxgjCNbQ5FEZf+wYpn9ilu3JCNvtM=$P54fRWFSJkJnrCFmHBHDLpjIUZE6ejWbHqVkRMxyR4E=": false,
		"$2a$04$" + strings.Repeat("a", 53): false,
	} {
		if got := parse(t, text).Fast(); got != want {
			t.Errorf("%.20s: got fast %t, want %t", text, got, want)
		}
	}
}

func TestZeroHash(t *testing.T) {
	var zero tokenhash.Hash
	if zero.Verify(tokencache.NewSecret("")) || zero.Reveal() != "" || !zero.Fast() {
		t.Error("the zero Hash matches the empty secret, has a text, or is slow")
	}
}

func TestParseErrors(t *testing.T) {
	for _, text := range []string{"", "supersecret", "{SHA}supersecret", "{MD5}supersecret", "{SSHA256}supersecret", "{PBKDF2}10000$supersecret", "$2a$10$supersecret"} {
		hash, err := tokenhash.Parse(text)
		if err == nil || strings.Contains(err.Error(), "supersecret") || hash != (tokenhash.Hash{}) {
			t.Errorf("Parse(%q): got %q, error %v; want no hash, and an error without the text", text, hash.Reveal(), err)
		}
	}
}

// TestSilence: a hash shows in no verb, log or encoder, also inside of other values.
func TestSilence(t *testing.T) {
	hash := parse(t, ofSupersecret)
	if text, err := hash.MarshalText(); err != nil || string(text) != "[redacted]" || fmt.Sprint(hash) != "[redacted]" || hash.String() != "[redacted]" {
		t.Errorf("it prints as %v, and marshals as %s, %v", hash, text, err)
	}
	type document struct {
		Hash   tokenhash.Hash
		hidden tokenhash.Hash
	}
	doc := document{hash, hash}
	var out bytes.Buffer
	for _, v := range []any{hash, &hash, doc, &doc, []any{doc}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			fmt.Fprintf(&out, verb, v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
	}
	if strings.Contains(out.String(), "wWZb") || strings.Contains(out.String(), fmt.Sprintf("%x", ofSupersecret)) {
		t.Errorf("the hash shows:\n%s", out.String())
	}
}

func BenchmarkVerify(b *testing.B) {
	secret := tokencache.GenerateSecret()
	for name, hash := range map[string]tokenhash.Hash{"New": tokenhash.New(secret), "Stretched": tokenhash.Stretched(secret)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				hash.Verify(secret)
			}
		})
	}
}
