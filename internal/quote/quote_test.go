package quote_test

import (
	"strings"
	"testing"

	"github.com/svctoken/svctoken/internal/quote"
)

func TestShort(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", `""`},
		{"a\n\x00\xff", `"a\n\x00\xff"`},
		{strings.Repeat("x", 128), `"` + strings.Repeat("x", 128) + `"`},
		{strings.Repeat("x", 129), `"` + strings.Repeat("x", 128) + `"... (129 bytes)`},
	} {
		if got := quote.Short(test.in); got != test.want {
			t.Errorf("%q: got %s, want %s", test.in, got, test.want)
		}
	}
}
