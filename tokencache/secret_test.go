package tokencache_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// TestSecretSilence prints secrets and tokens in every way that programs do by
// accident.
func TestSecretSilence(t *testing.T) {
	const plain = "supersecret"
	token := mustToken(t, "elastic/fleet-server/token1", plain)
	type holder struct {
		secret tokencache.Secret
		Secret tokencache.Secret
		token  tokencache.Token
		Token  tokencache.Token
		deep   *tokencache.Secret
	}
	h := holder{token.Secret(), token.Secret(), token, token, new(token.Secret())}

	var out bytes.Buffer
	for _, v := range []any{token.Secret(), new(token.Secret()), token, &token, h, &h, []any{h}, map[string]any{"k": token.Secret()}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t", "%p"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
	}
	for _, leak := range []string{plain, fmt.Sprintf("%x", plain), fmt.Sprintf("%X", plain), token.RevealBearer(), fmt.Sprint([]byte(plain))} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("the output contains %q:\n%s", leak, out.String())
		}
	}
}

func TestSecretEqual(t *testing.T) {
	a := tokencache.NewSecret("supersecret")
	for value, want := range map[string]bool{"supersecret": true, "supersecreT": false, "supersecre": false, "": false} {
		if got := a.Equal(tokencache.NewSecret(value)); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
	if !(tokencache.Secret{}).Equal(tokencache.NewSecret("")) {
		t.Error("the zero secret is not the empty one")
	}
}

func TestGenerateSecret(t *testing.T) {
	a, b := tokencache.GenerateSecret(), tokencache.GenerateSecret()
	if a.Equal(b) {
		t.Error("two generated secrets are the same")
	}
	if a.Len() != 22 || strings.Trim(a.Reveal(), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("got %q, want 22 characters of URL-safe base64", a.Reveal())
	}
}
