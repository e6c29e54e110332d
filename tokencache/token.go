package tokencache

import (
	"fmt"
	"log/slog"
	"strings"
)

// A TokenID names one token of one account. It holds nothing secret.
//
// It is a plain comparable value; [TokenID.Validate] checks it.
type TokenID struct {
	Account Account
	Name    string // 1 to 256 of A-Z a-z 0-9 _ -, not beginning with _
}

// ParseTokenID reads a qualified name, namespace/service/token_name. What is not
// one is a [*NameError].
func ParseTokenID(qualified string) (TokenID, error) {
	namespace, rest, ok := strings.Cut(qualified, "/")
	service, name, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || strings.Contains(name, "/") {
		return TokenID{}, &NameError{Field: "qualified name", Input: strings.Clone(qualified), Rule: qualifiedRule}
	}
	id := TokenID{Account{namespace, service}, name}
	if err := id.Validate(); err != nil {
		return TokenID{}, err
	}
	return id, nil
}

// String returns the qualified name, namespace/service/token_name.
func (id TokenID) String() string {
	return id.Account.Namespace + "/" + id.Account.Service + "/" + id.Name
}

// length returns the length of the qualified name.
func (id TokenID) length() int {
	return len(id.Account.Namespace) + 1 + len(id.Account.Service) + 1 + len(id.Name)
}

// append appends the qualified name.
func (id TokenID) append(b []byte) []byte {
	b = append(b, id.Account.Namespace...)
	b = append(b, '/')
	b = append(b, id.Account.Service...)
	b = append(b, '/')
	return append(b, id.Name...)
}

// Validate returns nil when all three names follow the rules, and a
// [*NameError] otherwise.
func (id TokenID) Validate() error {
	if err := id.Account.Validate(); err != nil {
		return err
	}
	return checkTokenName(id.Name)
}

// ValidateNew is [TokenID.Validate] for an id that comes from a person, for a new token
// for example: it also refuses names that begin with AAEAA, as every bearer does, with
// an error that does not repeat them.
func (id TokenID) ValidateNew() error {
	if err := id.Account.ValidateNew(); err != nil {
		return err
	}
	if err := checkTokenName(id.Name); err != nil {
		return withheldIfBearer(err)
	}
	return checkNoBearer("token name", id.Name)
}

// A Token is what a bearer presents: a token id and the secret that proves it.
//
// It prints, logs and marshals as its id alone. It is immutable and safe for
// concurrent use by multiple goroutines. The zero Token has an empty id and an
// empty secret, and is always refused.
type Token struct {
	id     TokenID
	secret Secret
}

// NewToken returns the token of this id and secret. It returns a [*NameError]
// for an invalid id, and an error that wraps [ErrRefused] for a secret under 10
// bytes, which no cache would ever accept.
//
// A new token gets a random secret: NewToken(id, GenerateSecret()).
func NewToken(id TokenID, secret Secret) (Token, error) {
	if err := id.Validate(); err != nil {
		return Token{}, err
	}
	if secret.Len() < minSecret {
		return Token{}, &RefusedError{Token: id, Reason: ReasonSecretLength}
	}
	return Token{id: id, secret: secret}, nil
}

// ID returns the token's id.
func (t Token) ID() TokenID { return t.id }

// Secret returns the token's secret.
func (t Token) Secret() Secret { return t.secret }

// String returns the qualified name, without the secret.
func (t Token) String() string { return t.id.String() }

// Format writes the qualified name for every verb, without the secret.
func (t Token) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.id.String()) }

// LogValue returns the qualified name, without the secret.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.id.String()) }

// MarshalText returns the qualified name, without the secret.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.id.String()), nil }

// TokenID returns the id of the account's token of that name, unchecked.
func (a Account) TokenID(name string) TokenID { return TokenID{Account: a, Name: name} }
