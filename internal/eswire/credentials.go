package eswire

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/svctoken/svctoken/tokencache"
)

// A Kind is a kind of credentials.
type Kind string

// The kinds of credentials.
const (
	NoCredentials Kind = ""
	Basic         Kind = "basic"         // a user's name and a password
	DamagedBasic  Kind = "damaged basic" // that cannot be read
	ServiceToken  Kind = "service token" // that can be read, or the name of which can
	DamagedToken  Kind = "damaged token" // that begins as a service token does, and has no name that can be read
	APIKey        Kind = "API key"
	OtherBearer   Kind = "bearer"       // of another kind
	OtherScheme   Kind = "other scheme" // another word before the credentials, or none
)

const unusable = "unable to authenticate with provided credentials and anonymous access is not allowed for this request"

// Credentials describe how a request proves its sender, without anything that must not be
// shown.
type Credentials struct {
	Kind Kind
	// Name is the user's, or the qualified name of a service token. Only [Basic] and
	// [ServiceToken] have one. A user's name may be anything, a secret too.
	Name string
}

// Ambiguous returns an error for a request with several Authorization headers, or nil: a
// proxy may have checked another one than this server would.
func Ambiguous(r *http.Request) *Error {
	if len(r.Header.Values("Authorization")) < 2 {
		return nil
	}
	return Illegal("multiple values for single-valued header [Authorization]")
}

// ReadCredentials returns the credentials of a request.
func ReadCredentials(r *http.Request) Credentials {
	header := r.Header.Get("Authorization")
	scheme, _, _ := strings.Cut(header, " ")
	switch {
	case strings.TrimSpace(header) == "":
		return Credentials{}
	case strings.EqualFold(scheme, "Basic"):
		name, _, ok := r.BasicAuth()
		if !ok {
			return Credentials{Kind: DamagedBasic}
		}
		return Credentials{Basic, name}
	case strings.EqualFold(scheme, "ApiKey"):
		return Credentials{Kind: APIKey}
	case strings.Contains(header, bearerStart):
		if name, ok := TokenName(header); ok {
			return Credentials{ServiceToken, name}
		}
		return Credentials{Kind: DamagedToken}
	case strings.EqualFold(scheme, "Bearer"):
		return Credentials{Kind: OtherBearer}
	}
	return Credentials{Kind: OtherScheme}
}

// TokenName returns the qualified name of the service token in a text, which may be
// damaged: cut, quoted, or with something before or after it. It reports whether it can
// be read.
func TokenName(text string) (string, bool) {
	const longest = 4 + 128 + 1 + 128 + 1 + 256 + 1 // the prefix, a qualified name, a colon
	start := strings.Index(text, bearerStart)
	if start < 0 {
		return "", false
	}
	text = text[start:]
	text = text[:min(len(text), base64.RawStdEncoding.EncodedLen(longest))]
	if end := strings.IndexFunc(text, func(c rune) bool { return !isBase64(c) }); end >= 0 {
		text = text[:end]
	}
	if len(text)%4 == 1 { // six bits are not a byte
		text = text[:len(text)-1]
	}
	plain, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return "", false
	}
	defer clear(plain)
	name, _, ok := bytes.Cut(plain[3:], []byte(":")) // five letters are three bytes and a part of one
	name = bytes.TrimPrefix(name, []byte{1})
	if _, err := tokencache.ParseTokenID(string(name)); err != nil || !ok {
		return "", false
	}
	return string(name), true
}

func isBase64(c rune) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/'
}

// unsuccessful says what is wrong with credentials that cannot be used.
func (k Kind) unsuccessful() string {
	switch k {
	case APIKey:
		return "API key: this server takes no API keys"
	case DamagedBasic:
		return "basic: invalid encoding"
	case DamagedToken, OtherBearer:
		return "oauth2 token: invalid token"
	case ServiceToken:
		return "service account token: this route takes none"
	default:
		return "authorization header: unknown scheme"
	}
}
