package peers

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"

	"github.com/svctoken/svctoken/tokencache"
)

// A Host is a group of caches that remember tokens, with the Authorization headers that
// hit.
type Host struct {
	Group   *tokencache.Group
	Headers []string
}

// HostOptions describe a Host. The zero value: one cache, and 1 000 tokens with secrets
// of 22 bytes.
type HostOptions struct {
	Tokens   int
	Accounts int   // whose tokens they are, in turn; 0: of Account
	Secrets  []int // lengths of secrets, in turn
	Caches   int   // the tokens live in the last; the sources before do not hold them
	Padded   bool  // whether the base64 is padded, as some clients send it
}

// NewHost returns a host whose tokens are in memory.
func NewHost(o HostOptions) *Host {
	if o.Tokens == 0 {
		o.Tokens = 1000
	}
	if o.Secrets == nil {
		o.Secrets = []int{22}
	}
	h := &Host{Group: tokencache.NewGroup(tokencache.GroupConfig{})}
	for i := range o.Caches - 1 {
		must(tokencache.New(h.Group, fmt.Sprint("before-", i), absent{}, tokencache.Config{}))
	}
	must(tokencache.New(h.Group, "cache", present{}, tokencache.Config{MaxEntries: o.Tokens + 1000}))
	for i := range o.Tokens {
		header := o.header(i)
		must(h.Group.Authenticate(context.Background(), header))
		h.Headers = append(h.Headers, header)
	}
	return h
}

// header returns the header of the host's token i.
func (o HostOptions) header(i int) string {
	secret := o.Secrets[i%len(o.Secrets)]
	if o.Accounts == 0 {
		return Header(i, secret, o.Padded)
	}
	account := tokencache.Account{Namespace: Account.Namespace, Service: fmt.Sprintf("fleet-%06d", i%o.Accounts)}
	return headerOf(account.TokenID(tokenName(i)), secretOf(i, secret), o.Padded)
}

// Header returns the header of token i, whose qualified name has 36 bytes, or 38 if the
// base64 of a secret of 64 bytes is to be padded.
func Header(i, secret int, padded bool) string {
	name := fmt.Sprintf("token-%09d", i)
	if padded {
		name += "-p"
	}
	return HeaderOf(name, secretOf(i, secret), padded)
}

// WrongHeader returns a header with the name of token i and another secret of the
// same length.
func WrongHeader(i, secret int) string {
	return HeaderOf(fmt.Sprintf("token-%09d", i), secretOf(i+1e9, secret), false)
}

// HeaderOf returns the header of a token of Account.
func HeaderOf(name, secret string, padded bool) string {
	return headerOf(Account.TokenID(name), secret, padded)
}

func headerOf(id tokencache.TokenID, secret string, padded bool) string {
	encoding := base64.RawStdEncoding
	if padded {
		encoding = base64.StdEncoding
	}
	return "Bearer " + encoding.EncodeToString([]byte("\x00\x01\x00\x01"+id.String()+":"+secret))
}

// secretOf returns the i-th secret of n characters.
func secretOf(i, n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	random := rand.New(rand.NewPCG(uint64(i), 22))
	secret := make([]byte, n)
	for i := range secret {
		secret[i] = alphabet[random.IntN(len(alphabet))]
	}
	return string(secret)
}

// present holds every token and accepts any secret; absent holds none, and is not a
// tokencache.Holder.
type (
	present struct{}
	absent  struct{}
)

func (present) Lookup(context.Context, tokencache.TokenID) (tokencache.Answer[struct{}], error) {
	return tokencache.Answer[struct{}]{Held: true, Verify: anySecret}, nil
}

func (absent) Lookup(context.Context, tokencache.TokenID) (tokencache.Answer[struct{}], error) {
	return tokencache.Answer[struct{}]{}, nil
}

func (present) Subscribe(tokencache.Invalidator) func() { return func() {} }
func (absent) Subscribe(tokencache.Invalidator) func()  { return func() {} }
