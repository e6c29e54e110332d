package tokentest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"github.com/svctoken/svctoken/tokencache"
)

// checkErrors: a source that cannot answer returns an error. An outage is neither absence
// nor denial, and leaves nothing behind when it is over.
func checkErrors(s *subject) {
	s.needs(s.SetFailing != nil, "SetFailing")
	token := s.create(account.TokenID("token1"))
	s.SetFailing(true)
	for _, id := range []tokencache.TokenID{token.ID(), account.TokenID("nobody")} {
		if _, err := s.ask(id, token.Secret()); err == nil {
			s.Errorf("Lookup of %s in an outage: got an answer, want an error", id)
		}
		if a, err := s.src.Lookup(s.Context(), id); err != nil && (a.Held || a.Disabled) {
			s.Errorf("Lookup of %s in an outage: got Held %v and Disabled %v with the error, want the zero Answer", id, a.Held, a.Disabled)
		}
		if !s.mayHold(id) {
			s.Errorf("MayHold of %s in an outage: got false, want true, as nobody can tell", id)
		}
	}
	s.SetFailing(false)
	if ok, err := s.ask(token.ID(), token.Secret()); !ok || err != nil {
		s.Errorf("after an outage: got confirmed %v and error %v, want true and none", ok, err)
	}
}

// ask looks a token up, and verifies a secret. The error is that of Lookup or of Ask.
func (s *subject) ask(id tokencache.TokenID, secret tokencache.Secret) (bool, error) {
	a, err := s.src.Lookup(s.Context(), id)
	switch {
	case err != nil || !a.Held || a.Disabled:
		return false, err
	case a.Ask != nil:
		return a.Ask(s.Context(), secret)
	default:
		return s.confirms(a, secret), nil
	}
}

// checkContext: Lookup returns soon after its context is done, with an error.
func checkContext(s *subject) {
	token := s.create(account.TokenID("token1"))
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	if s.SetHanging != nil {
		s.SetHanging(true)
		defer s.SetHanging(false)
	} else {
		cancel()
	}
	result := make(chan error, 1)
	go func() {
		a, err := s.src.Lookup(ctx, token.ID())
		if err == nil && a.Ask != nil {
			_, err = a.Ask(ctx, token.Secret())
		}
		result <- err
	}()
	cancel()
	var err error
	if !s.within(func() { err = <-result }) {
		s.Fatalf("Lookup did not return within %v after its context was done", s.Patience)
	}
	if err == nil && s.SetHanging != nil {
		s.Errorf("Lookup waited in vain until its context was done: got an answer, want an error")
	}
}

// checkSilence: no error and no record shows a secret or a hash.
func checkSilence(s *subject) {
	token := s.create(account.TokenID("token1"))
	hidden := s.hidden(token)
	a := s.lookup(token.ID())
	s.quiet("a record", a.Record, hidden)
	s.quiet("an answer", a, hidden)
	if s.SetFailing != nil {
		s.SetFailing(true)
		_, err := s.ask(token.ID(), token.Secret())
		s.quiet("the error of an outage", err, hidden)
		s.SetFailing(false)
	}
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	if _, err := s.src.Lookup(ctx, token.ID()); err != nil {
		s.quiet("the error of a context that is done", err, hidden)
	}
}

// hidden returns the texts that must not be shown, by a description.
func (s *subject) hidden(token tokencache.Token) map[string]string {
	secret := token.Secret().Reveal()
	hidden := map[string]string{
		"the secret":           secret,
		"the secret in hex":    hex.EncodeToString([]byte(secret)),
		"the secret in base64": base64.RawStdEncoding.EncodeToString([]byte(secret)),
		"the bearer":           token.RevealBearer(),
	}
	if s.Hidden != nil {
		for i, text := range s.Hidden() {
			hidden[fmt.Sprintf("hidden text %d", i)] = text
		}
	}
	return hidden
}

// quiet fails the test if v shows one of the hidden texts, however it is printed.
func (s *subject) quiet(what string, v any, hidden map[string]string) {
	s.Helper()
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, verb+"\n", v)
	}
	out.WriteString(asJSON(v))
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
	for name, text := range hidden {
		if text != "" && strings.Contains(out.String(), text) {
			s.Errorf("%s shows %s", what, name)
		}
	}
}

// asJSON returns v as JSON, or nothing if it has no JSON.
func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}
