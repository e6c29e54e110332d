package tokencache_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

func TestParseTokenID(t *testing.T) {
	for _, test := range []struct{ qualified, err string }{
		{"elastic/fleet-server/token1", ""},
		{"a/b/" + strings.Repeat("x", 256), ""},
		{"a/b/-x", ""},
		{"", `invalid qualified name "": must be namespace/service/token_name, exactly three parts`},
		{"a/b", `invalid qualified name "a/b": must be namespace/service/token_name, exactly three parts`},
		{"a/b/c/d", `invalid qualified name "a/b/c/d": must be namespace/service/token_name, exactly three parts`},
		{"/b/c", `invalid namespace "": must be 1 to 128 of A-Z a-z 0-9 _ -, beginning with a letter or digit`},
		{"a/-b/c", `invalid service "-b": must be 1 to 128 of A-Z a-z 0-9 _ -, beginning with a letter or digit`},
		{"a/b/_c", `invalid token name "_c": must be 1 to 256 of A-Z a-z 0-9 _ -, not beginning with _`},
		{"a/b/c\n", `invalid token name "c\n": must be 1 to 256 of A-Z a-z 0-9 _ -, not beginning with _`},
		{"a/b/", `invalid token name "": must be 1 to 256 of A-Z a-z 0-9 _ -, not beginning with _`},
		{"a/b/" + strings.Repeat("x", 257), `invalid token name "` + strings.Repeat("x", 128) + `"... (257 bytes): must be 1 to 256 of A-Z a-z 0-9 _ -, not beginning with _`},
	} {
		id, err := tokencache.ParseTokenID(test.qualified)
		if test.err == "" {
			if err != nil || id.String() != test.qualified {
				t.Errorf("%q: got %v, %v", test.qualified, id, err)
			}
			continue
		}
		if err == nil || err.Error() != "tokencache: "+test.err {
			t.Errorf("%q: got error %v, want %v", test.qualified, err, test.err)
		}
		if id != (tokencache.TokenID{}) {
			t.Errorf("%q: got id %v beside an error", test.qualified, id)
		}
	}
}

func TestTokenPrintsItsName(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	for _, verb := range []string{"%v", "%+v", "%s"} {
		if got := fmt.Sprintf(verb, token); got != "elastic/fleet-server/token1" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	if text, err := token.MarshalText(); err != nil || string(text) != "elastic/fleet-server/token1" {
		t.Errorf("MarshalText returns %q, %v", text, err)
	}
}
