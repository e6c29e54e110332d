package tokencache

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

var (
	errScheme = fmt.Errorf("%w: the scheme is not Bearer", ErrNotServiceToken)
	errBase64 = fmt.Errorf("%w: not strict standard base64", ErrNotServiceToken)
	errPrefix = fmt.Errorf("%w: no service token prefix", ErrNotServiceToken)
	errColon  = fmt.Errorf("%w: no colon between name and secret", ErrNotServiceToken)
)

const (
	bearerPrefix = "\x00\x01\x00\x01"

	// stackBuffer is how long a bearer's bytes may be before decoding them needs an
	// allocation: a qualified name of 200 bytes with a generated secret fits.
	stackBuffer = 256

	maxQualified = maxAccountName + 1 + maxAccountName + 1 + maxTokenName
)

// ParseBearer reads the wire form of a token, without the word "Bearer":
// standard-alphabet base64, with or without padding, of 00 01 00 01, the
// qualified name, a colon and the secret. It cuts at the first colon, so a
// secret may contain more of them.
//
// An error wraps [ErrNotServiceToken] if the input is not a service token
// (with a [*NameError] without the input if it has an invalid name), or [ErrRefused] if
// the secret is shorter than 10 bytes. Errors never contain the secret, nor what may be
// one in a name's place.
func ParseBearer(bearer string) (Token, error) {
	// Decode into memory of its own, which the token keeps: a copy on the stack would be
	// left behind when the stack grows.
	plain, err := decodeBearer(nil, bearer)
	if err != nil {
		return Token{}, err
	}
	token, err := splitBearer(plain)
	if err != nil {
		clear(plain)
	}
	return token, err
}

// cutScheme returns what follows "Bearer" and its spaces in the value of an
// Authorization header (RFC 6750, section 2.1; the scheme is in any case, RFC
// 9110, section 11.1).
func cutScheme(authorization string) (bearer string, ok bool) {
	const scheme = "Bearer "
	if len(authorization) < len(scheme) {
		return "", false
	}
	word := authorization[:len(scheme)]
	if word != scheme && !strings.EqualFold(word, scheme) {
		return "", false
	}
	bearer = authorization[len(scheme):]
	for len(bearer) > 0 && bearer[0] == ' ' {
		bearer = bearer[1:]
	}
	return bearer, true
}

// strict is the encoding of bearers: each token has one spelling.
var strict = base64.RawStdEncoding.Strict()

// decodeBearer decodes into buf, or into a new slice if buf is too short, and returns the
// bytes after the prefix.
func decodeBearer(buf []byte, bearer string) ([]byte, error) {
	if !strings.HasPrefix(bearer, encodedPrefix) {
		return nil, errPrefix
	}
	bearer, ok := trimPadding(bearer)
	// The standard decoder skips line breaks even if it is strict, which would
	// give one token many spellings.
	if !ok || strings.IndexByte(bearer, '\n') >= 0 || strings.IndexByte(bearer, '\r') >= 0 {
		return nil, errBase64
	}
	plain, err := strict.AppendDecode(buf[:0], []byte(bearer))
	if err != nil {
		clear(plain)
		return nil, errBase64
	}
	if len(plain) < len(bearerPrefix) || string(plain[:len(bearerPrefix)]) != bearerPrefix {
		return nil, errPrefix
	}
	return plain[len(bearerPrefix):], nil
}

// trimPadding removes the padding, which must complete the last group of four, of a
// bearer that is longer than any padding.
func trimPadding(bearer string) (string, bool) {
	end := len(bearer)
	for len(bearer)-end < 2 && bearer[end-1] == '=' {
		end--
	}
	if end < len(bearer) && len(bearer)%4 != 0 {
		return "", false
	}
	return bearer[:end], true
}

// splitBearer makes a token of the bytes after a bearer's prefix. It keeps the bytes.
func splitBearer(plain []byte) (Token, error) {
	qualified, secret, ok := bytes.Cut(plain, []byte{':'})
	if !ok {
		return Token{}, errColon
	}
	id, err := ParseTokenID(string(qualified))
	if nameErr, ok := errors.AsType[*NameError](err); ok {
		// It may be a secret in a name's place.
		return Token{}, fmt.Errorf("%w: %w", ErrNotServiceToken, &NameError{Field: nameErr.Field, Rule: nameErr.Rule, withheld: true})
	}
	if len(secret) < minSecret {
		return Token{}, &RefusedError{Token: id, Reason: ReasonSecretLength}
	}
	return Token{id: id, secret: newSecret(secret)}, nil
}

// RevealBearer returns the wire form, which contains the secret: unpadded
// standard base64 of the bytes 00 01 00 01, the qualified name, a colon and the
// secret. A client sends it as "Authorization: Bearer " + t.RevealBearer().
func (t Token) RevealBearer() string {
	plain := append(t.id.append([]byte(bearerPrefix)), ':')
	return base64.RawStdEncoding.EncodeToString(append(plain, t.secret.bytes()...))
}
