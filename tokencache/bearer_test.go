package tokencache_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

func encode(plain string) string { return base64.RawStdEncoding.EncodeToString([]byte(plain)) }

func TestParseBearer(t *testing.T) {
	const prefix = "\x00\x01\x00\x01"
	for _, test := range []struct {
		name, bearer, id, secret string
	}{
		{"documented", "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA", "elastic/fleet-server/token1", "supersecret"},
		{"padded twice", base64.StdEncoding.EncodeToString([]byte(prefix + "a/b/c:0123456789")), "a/b/c", "0123456789"},
		{"padded once", base64.StdEncoding.EncodeToString([]byte(prefix + "a/b/c:01234567890")), "a/b/c", "01234567890"},
		{"no padding needed", base64.StdEncoding.EncodeToString([]byte(prefix + "a/b/c:012345678901")), "a/b/c", "012345678901"},
		{"colons in the secret", encode(prefix + "a/b/c:01234:6789:"), "a/b/c", "01234:6789:"},
		{"any bytes in the secret", encode(prefix + "a/b/c:\x00\xff\n3456789"), "a/b/c", "\x00\xff\n3456789"},
		{"long", encode(prefix + "a/b/c:" + strings.Repeat("s", 5000)), "a/b/c", strings.Repeat("s", 5000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			token, err := tokencache.ParseBearer(test.bearer)
			if err != nil {
				t.Fatal(err)
			}
			if token.ID().String() != test.id || token.Secret().Reveal() != test.secret {
				t.Errorf("got %v, %q", token.ID(), token.Secret().Reveal())
			}
			if got, want := token.RevealBearer(), strings.TrimRight(test.bearer, "="); got != want {
				t.Errorf("RevealBearer: got %q, want %q", got, want)
			}
		})
	}
}

func TestParseBearerRejects(t *testing.T) {
	const prefix = "\x00\x01\x00\x01"
	good := encode(prefix + "a/b/c:0123456789a") // 21 bytes: no padding
	for _, test := range []struct {
		name, bearer, message string
		refused               bool
	}{
		{"empty", "", "no service token prefix", false},
		{"a JWT", "eyJhbGciOiJIUzI1NiJ9.e30.x", "no service token prefix", false},
		{"other bytes", encode("\x00\x01\x00\x02a/b/c:0123456789"), "no service token prefix", false},
		{"another 30 bits", encode("\x00\x01\x00\x00a/b/c:0123456789"), "no service token prefix", false},
		{"prefix alone", "AAEAA", "not strict standard base64", false},
		{"line break", good[:8] + "\n" + good[8:], "not strict standard base64", false},
		{"trailing line break", good + "\n", "not strict standard base64", false},
		{"inner padding", good[:8] + "====" + good[8:], "not strict standard base64", false},
		{"too much padding", good + "=", "not strict standard base64", false},
		{"URL alphabet", encode(prefix+"a/b/c:01234567") + "-_", "not strict standard base64", false},
		{"bits after the end", encode(prefix + "a/b/c:0123456789")[:26] + "R", "not strict standard base64", false},
		{"no colon", encode(prefix + "a/b/c"), "no colon between name and secret", false},
		{"two parts", encode(prefix + "a/b:0123456789"), `tokencache: invalid qualified name: must be`, false},
		{"four parts", encode(prefix + "a/b/c/d:0123456789"), `tokencache: invalid qualified name: must be`, false},
		{"invalid name", encode(prefix + "a/b/_c:0123456789"), `tokencache: invalid token name: must be`, false},
		{"invalid name and short secret", encode(prefix + "a/b/_c:0"), `tokencache: invalid token name: must be`, false},
		{"short secret", encode(prefix + "a/b/c:012345678"), "secret_length", true},
		{"no secret", encode(prefix + "a/b/c:"), "secret_length", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			token, err := tokencache.ParseBearer(test.bearer)
			if err == nil {
				t.Fatalf("got %v", token)
			}
			want := "tokencache: not a service token: " + test.message
			if test.refused {
				want = "tokencache: token refused: a/b/c: " + test.message
			}
			if !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %q, want %q", err, want)
			}
			if got := errors.Is(err, tokencache.ErrRefused); got != test.refused {
				t.Errorf("ErrRefused: got %v, want %v", got, test.refused)
			}
			if got := errors.Is(err, tokencache.ErrNotServiceToken); got == test.refused {
				t.Errorf("ErrNotServiceToken: got %v, want %v", got, !test.refused)
			}
			if token.ID() != (tokencache.TokenID{}) || token.Secret().Len() != 0 {
				t.Errorf("got %v beside an error", token)
			}
		})
	}
}

func TestNewTokenRejects(t *testing.T) {
	secret := tokencache.GenerateSecret()
	if _, err := tokencache.NewToken(fleet.TokenID("_x"), secret); err == nil {
		t.Error("an invalid name was accepted")
	}
	_, err := tokencache.NewToken(fleet.TokenID("x"), tokencache.NewSecret("012345678"))
	if !errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("short secret: got %v", err)
	}
	_, err = tokencache.NewToken(fleet.TokenID("_x"), tokencache.NewSecret("012345678"))
	if _, ok := errors.AsType[*tokencache.NameError](err); !ok {
		t.Errorf("an invalid name and a short secret: got %v, want the name", err)
	}
}

func FuzzParseBearer(f *testing.F) {
	for _, seed := range []string{
		"AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA",
		base64.StdEncoding.EncodeToString([]byte("\x00\x01\x00\x01a/b/c:0123456789")),
		"AAEAA", "AAEAA====", "AAEAAQ==", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, bearer string) {
		token, err := tokencache.ParseBearer(bearer)
		if err != nil {
			if !errors.Is(err, tokencache.ErrNotServiceToken) && !errors.Is(err, tokencache.ErrRefused) {
				t.Errorf("got an error of no kind: %v", err)
			}
			if _, secret, ok := strings.Cut(decodeAll(bearer), ":"); ok && len(secret) >= 10 && strings.Contains(err.Error(), secret) {
				t.Errorf("the error contains the secret: %v", err)
			}
			return
		}
		if got, want := token.RevealBearer(), strings.TrimRight(bearer, "="); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := token.ID().Validate(); err != nil {
			t.Error(err)
		}
	})
}

func decodeAll(bearer string) string {
	b, _ := base64.RawStdEncoding.DecodeString(strings.TrimRight(bearer, "="))
	return string(b)
}

// TestParseBearerShowsNoSecret: whatever stands in a name's place may be a secret, and is
// shown only if it is a valid name.
func TestParseBearerShowsNoSecret(t *testing.T) {
	secret := tokencache.GenerateSecret().Reveal()
	for _, plain := range []string{
		secret + ":elastic/fleet-server/token1",
		secret + ":" + secret,
		"elastic/" + secret + ":0123456789",
		"elastic/fleet-server/token1/" + secret + ":x",
		"elastic/fleet-server/" + secret + "\n:",
		"elastic/fleet-server/_" + secret + ":0123456789",
		"_" + secret + "/fleet-server/token1:0123456789",
		"elastic/fleet server " + secret + "/token1:0123456789",
	} {
		_, err := tokencache.ParseBearer(base64.RawStdEncoding.EncodeToString([]byte("\x00\x01\x00\x01" + plain)))
		nameErr, ok := errors.AsType[*tokencache.NameError](err)
		if !ok || nameErr.Input != "" || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, nameErr), secret) {
			t.Errorf("%q: got %v", plain, err)
		}
	}
}
