package tokencache

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNotServiceToken is wrapped by the error for a credential that is not a
	// service token at all: another scheme, another kind of bearer, or one that is
	// damaged. It is not a refusal: a host can go on to its other schemes.
	ErrNotServiceToken = errors.New("tokencache: not a service token")

	// ErrRefused is wrapped by the error for a service token that no source
	// confirms: an unknown account or token, a wrong secret, a disabled token.
	ErrRefused = errors.New("tokencache: token refused")

	errShortSecret    = fmt.Errorf("%w: the secret is shorter than 10 bytes", ErrRefused)
	errUnknownAccount = fmt.Errorf("%w: the account is not known", ErrRefused)

	errScheme = fmt.Errorf("%w: the scheme is not Bearer", ErrNotServiceToken)
	errBase64 = fmt.Errorf("%w: not strict standard base64", ErrNotServiceToken)
	errPrefix = fmt.Errorf("%w: no service token prefix", ErrNotServiceToken)
	errColon  = fmt.Errorf("%w: no colon between name and secret", ErrNotServiceToken)
)

const (
	bearerPrefix  = "\x00\x01\x00\x01"
	encodedPrefix = "AAEAA" // what the base64 of bearerPrefix begins with
)

// ParseBearer reads the wire form of a token, without the word "Bearer":
// standard-alphabet base64, with or without padding, of 00 01 00 01, the
// qualified name, a colon and the secret. It cuts at the first colon, so a
// secret may contain more of them.
//
// An error wraps [ErrNotServiceToken] where the input is not a service token
// (with a [*NameError] where it has an invalid name), or [ErrRefused] where the
// secret is shorter than 10 bytes. Errors never contain the secret.
func ParseBearer(bearer string) (Token, error) {
	qualified, secret, err := decodeBearer(nil, bearer)
	if err != nil {
		return Token{}, err
	}
	return parseToken(qualified, secret)
}

// parseToken makes a token of a bearer's two parts, which it copies.
func parseToken(qualified, secret []byte) (Token, error) {
	id, err := ParseTokenID(string(qualified))
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrNotServiceToken, err)
	}
	if len(secret) < minSecret {
		return Token{}, errShortSecret
	}
	return Token{id: id, secret: Secret{value: new(string(secret))}}, nil
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

// decodeBearer decodes into buf, or into a new slice where buf is too short, and
// returns the parts, which share its memory. It does not check the names: the
// hit path finds an entry by them or does not.
func decodeBearer(buf []byte, bearer string) (qualified, secret []byte, err error) {
	if !strings.HasPrefix(bearer, encodedPrefix) {
		return nil, nil, errPrefix
	}
	if need := decodedLen(len(bearer)); need > len(buf) {
		buf = make([]byte, need)
	}
	n, ok := decodeBase64(buf, bearer)
	if !ok {
		return nil, nil, errBase64
	}
	plain := buf[:n]
	if n < len(bearerPrefix) || string(plain[:len(bearerPrefix)]) != bearerPrefix {
		return nil, nil, errPrefix
	}
	plain = plain[len(bearerPrefix):]
	return splitBearer(plain, bytes.IndexByte(plain, ':'))
}

func splitBearer(plain []byte, colon int) (qualified, secret []byte, err error) {
	if colon < 0 {
		return nil, nil, errColon
	}
	return plain[:colon], plain[colon+1:], nil
}
