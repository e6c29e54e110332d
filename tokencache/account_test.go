package tokencache_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

func TestAccountValidate(t *testing.T) {
	for name, valid := range map[string]bool{
		"elastic":                true,
		"fleet-server":           true,
		"a":                      true,
		"0_-":                    true,
		strings.Repeat("x", 128): true,
		strings.Repeat("x", 129): false,
		"":                       false,
		"_a":                     false,
		"-a":                     false,
		"a/b":                    false,
		"a b":                    false,
		"a\n":                    false,
		"é":                      false,
		"a.b":                    false,
		"a\x00":                  false,
	} {
		for _, account := range []tokencache.Account{{Namespace: name, Service: "s"}, {Namespace: "n", Service: name}} {
			err := account.Validate()
			if (err == nil) != valid {
				t.Errorf("%q: got %v, want valid %v", account, err, valid)
			}
			nameErr, ok := errors.AsType[*tokencache.NameError](err)
			if err != nil && (!ok || nameErr.Input != name) {
				t.Errorf("%q: got %#v, want a NameError that holds the input", account, err)
			}
		}
	}
}
