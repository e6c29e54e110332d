package tokencache

import (
	"errors"
	"fmt"
	"strings"

	"github.com/svctoken/svctoken/internal/quote"
)

// An Account is a service account, written namespace/service, for example
// elastic/fleet-server.
//
// It is a plain comparable value. Functions of this module that take one check
// it; [Account.Validate] checks it by hand.
type Account struct {
	Namespace string // 1 to 128 of A-Z a-z 0-9 _ -, beginning with a letter or digit
	Service   string // the same rule
}

// String returns namespace/service.
func (a Account) String() string { return a.Namespace + "/" + a.Service }

// Validate returns nil when both names follow the rules, and a [*NameError]
// otherwise.
func (a Account) Validate() error {
	if err := checkAccountName("namespace", a.Namespace); err != nil {
		return err
	}
	return checkAccountName("service", a.Service)
}

// ValidateNew is [Account.Validate] for names that come from a person: it also refuses
// names that begin with AAEAA, as every bearer does, with an error that does not repeat
// them. Names that a source holds already are valid, whatever they begin with.
func (a Account) ValidateNew() error {
	if err := a.Validate(); err != nil {
		return withheldIfBearer(err)
	}
	if err := checkNoBearer("namespace", a.Namespace); err != nil {
		return err
	}
	return checkNoBearer("service", a.Service)
}

// A NameError reports a namespace, service, token name or qualified name that
// breaks the rules.
type NameError struct {
	Field string // what the input was meant to be: "namespace", "service", "token name" or "qualified name"
	Input string // the input itself; empty if it is, or if it may be a secret
	Rule  string // the rule that it breaks

	withheld bool // whether the input is not shown
}

// Error names the input, shortened if it is long, and the rule.
func (e *NameError) Error() string {
	if e.withheld {
		return fmt.Sprintf("tokencache: invalid %s: %s", e.Field, e.Rule)
	}
	return fmt.Sprintf("tokencache: invalid %s %s: %s", e.Field, quote.Short(e.Input), e.Rule)
}

const (
	maxAccountName = 128
	maxTokenName   = 256

	encodedPrefix = "AAEAA" // what every bearer begins with: the base64 of bearerPrefix

	notBearerRule   = "must not begin with " + encodedPrefix + ", as bearers do"
	accountNameRule = "must be 1 to 128 of A-Z a-z 0-9 _ -, beginning with a letter or digit"
	tokenNameRule   = "must be 1 to 256 of A-Z a-z 0-9 _ -, not beginning with _"
	qualifiedRule   = "must be namespace/service/token_name, exactly three parts"
)

func checkAccountName(field, name string) error {
	if len(name) > maxAccountName || !isName(name) || name[0] == '_' || name[0] == '-' {
		return &NameError{Field: field, Input: strings.Clone(name), Rule: accountNameRule}
	}
	return nil
}

func checkTokenName(name string) error {
	if len(name) > maxTokenName || !isName(name) || name[0] == '_' {
		return &NameError{Field: "token name", Input: strings.Clone(name), Rule: tokenNameRule}
	}
	return nil
}

// checkNoBearer returns an error, without the name, for one that begins as a bearer does.
func checkNoBearer(field, name string) error {
	if strings.HasPrefix(name, encodedPrefix) {
		return &NameError{Field: field, Rule: notBearerRule, withheld: true}
	}
	return nil
}

// withheldIfBearer returns the error of an invalid name, without the name if that begins
// as a bearer does.
func withheldIfBearer(err error) error {
	if nameErr, ok := errors.AsType[*NameError](err); ok && strings.HasPrefix(nameErr.Input, encodedPrefix) {
		return &NameError{Field: nameErr.Field, Rule: nameErr.Rule, withheld: true}
	}
	return err
}

// isName reports whether s is not empty and has only the bytes which every kind
// of name may have.
func isName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return s != ""
}
