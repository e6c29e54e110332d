package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// A leaked is the readable part of a bearer, or of its beginning.
type leaked struct {
	name  string           // of the token, or its beginning
	whole bool             // whether name is complete
	token tokencache.Token // if the bearer is complete
}

// readLeaked reads standard input: a command line would keep it in the shell's history.
// No error repeats it.
func readLeaked(r io.Reader) (leaked, error) {
	text, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return leaked{}, err
	}
	bearer := strings.TrimSpace(string(text))
	if fields := strings.Fields(bearer); len(fields) == 2 && strings.EqualFold(fields[0], "bearer") {
		bearer = fields[1]
	}
	if token, err := tokencache.ParseBearer(bearer); err == nil {
		return leaked{token.ID().String(), true, token}, nil
	}
	bearer = strings.TrimRight(bearer, "=.…*")
	decoded, err := base64.RawStdEncoding.DecodeString(bearer[:len(bearer)/4*4])
	rest, ok := strings.CutPrefix(string(decoded), "\x00\x01\x00\x01")
	if err != nil || !ok {
		return leaked{}, fmt.Errorf("standard input has no bearer, nor the beginning of one, which is AAEAA%w", errUsage)
	}
	name, _, whole := strings.Cut(rest, ":")
	return leaked{name: name, whole: whole}, nil
}

// matches reports whether the bearer may be a token of this name.
func (l leaked) matches(id tokencache.TokenID) bool {
	if l.whole {
		return id.String() == l.name
	}
	return strings.HasPrefix(id.String(), l.name)
}

// secret returns, in words, whether the secret matches.
func (l leaked) secret(verify func(tokencache.Secret) bool) string {
	switch {
	case l.token.ID() == (tokencache.TokenID{}):
		return "not whole"
	case verify(l.token.Secret()):
		return "matches"
	default:
		return "does not match"
	}
}

// secretOf is secret for a document. If the secret is the one before the last rotation,
// it says until when that is good.
func (l leaked) secretOf(doc indexsource.Document) string {
	switch text := l.secret(doc.Hash.Verify); {
	case text == "not whole", text == "matches", !doc.Previous.Verify(l.token.Secret()):
		return text
	case time.Now().Before(doc.PreviousExpires):
		return "matches the one before, which is good until " + stamp(doc.PreviousExpires)
	default:
		return "matches the one before, which is refused since " + stamp(doc.PreviousExpires)
	}
}

func (c *command) whois(ctx context.Context, index sqlStore) error {
	l, err := readLeaked(c.stdin)
	if err != nil {
		return err
	}
	found := false
	for t, err := range index.tokens(ctx, l.account()) {
		if err != nil {
			return err
		}
		if !l.matches(t.Token) {
			continue
		}
		doc, ok, err := index.Get(ctx, t.Token)
		if err != nil || !ok {
			return errors.Join(err, ctx.Err())
		}
		found = true
		secret := l.secretOf(doc)
		object := line{"token": t.Token.String(), "secret": secret, "state": t.state(), "creator": t.Creator, "last_used": orNull(t.used)}
		if err := c.print(object, t.Token.String(), "the secret "+secret, t.state(), fmt.Sprintf("%q", t.Creator), stamp(t.used)); err != nil {
			return err
		}
	}
	return l.unlessFound(found)
}

func (c *command) whoisFile(ctx context.Context, file fileStore) error {
	l, err := readLeaked(c.stdin)
	if err != nil {
		return err
	}
	found := false
	for _, id := range file.List() {
		if !l.matches(id) {
			continue
		}
		answer, err := file.Lookup(ctx, id)
		if err != nil {
			return err
		}
		found = true
		secret := l.secret(answer.Verify)
		if err := c.print(line{"token": id.String(), "secret": secret, "state": "enabled"}, id.String(), "the secret "+secret, "enabled"); err != nil {
			return err
		}
	}
	return l.unlessFound(found)
}

// account returns the account if it is complete in the text, or the zero Account.
func (l leaked) account() tokencache.Account {
	parts := strings.SplitN(l.name, "/", 3)
	if len(parts) < 3 {
		return tokencache.Account{}
	}
	return tokencache.Account{Namespace: parts[0], Service: parts[1]}
}

func (l leaked) unlessFound(found bool) error {
	if found {
		return nil
	}
	return fmt.Errorf("%w: of the name that the bearer begins with", tokencache.ErrNotFound)
}
