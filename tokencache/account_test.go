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

// TestBytesOfNames: of all bytes, 64 may stand in a name, and 62 begin an account's;
// a token's name may begin with - as well.
func TestBytesOfNames(t *testing.T) {
	const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	for b := range 256 {
		c := string([]byte{byte(b)})
		for _, test := range []struct {
			account tokencache.Account
			name    string
			allowed string
		}{
			{tokencache.Account{Namespace: "n" + c, Service: "s"}, "t", alphanumeric + "_-"},
			{tokencache.Account{Namespace: "n", Service: "s" + c}, "t", alphanumeric + "_-"},
			{tokencache.Account{Namespace: "n", Service: "s"}, "t" + c, alphanumeric + "_-"},
			{tokencache.Account{Namespace: c + "n", Service: "s"}, "t", alphanumeric},
			{tokencache.Account{Namespace: "n", Service: c + "s"}, "t", alphanumeric},
			{tokencache.Account{Namespace: "n", Service: "s"}, c + "t", alphanumeric + "-"},
		} {
			id := test.account.TokenID(test.name)
			if err := id.Validate(); (err == nil) != strings.Contains(test.allowed, c) {
				t.Errorf("%q: got %v", id, err)
			}
		}
	}
}
