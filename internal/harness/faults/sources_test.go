package faults_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

var errRoute = errors.New("no route to the source")

// withSource returns a host with a scripted source.
func withSource(t *testing.T, cfg tokencache.GroupConfig, verify time.Duration) *host {
	h := newHost(t, "", cfg)
	cache(h, "source", &h.src, cached)
	h.fill(20, verify)
	h.serve()
	return h
}

// source is a fault of the source.
func source(strike func(h *host)) func(*testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		h := withSource(t, tokencache.GroupConfig{}, 0)
		return h, func() { strike(h) }
	}
}

// ignoring makes the source hang and ignore its context.
func ignoring(h *host) {
	release := make(chan struct{})
	h.t.Cleanup(func() { close(release) })
	for _, token := range h.tokens {
		h.src.PutAnswer(token.ID(), tokencache.Answer[string]{Held: true, Ask: func(context.Context, tokencache.Secret) (bool, error) {
			<-release
			return false, errRoute
		}})
	}
}

// flaky makes every eighth question fail.
func flaky(h *host) {
	var n atomic.Int32
	for _, token := range h.tokens {
		h.src.PutAnswer(token.ID(), tokencache.Answer[string]{Held: true, Ask: func(_ context.Context, secret tokencache.Secret) (bool, error) {
			if n.Add(1)%8 == 0 {
				return false, errRoute
			}
			return token.Secret().Equal(secret), nil
		}})
	}
}

// strangers is a flood: a hundred a second.
func strangers(cfg tokencache.GroupConfig, verify time.Duration, send func(h *host)) func(*testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		h := withSource(t, cfg, verify)
		for i := range 500 { // tokens that exist, and that nobody uses
			h.src.PutAnswer(account.TokenID(fmt.Sprint("unused", i)), tokencache.Answer[string]{Held: true, Verify: func(tokencache.Secret) bool {
				time.Sleep(verify)
				return false
			}})
		}
		return h, func() { h.every(10*time.Millisecond, func() { send(h) }) }
	}
}

func guess(h *host, name string, patience time.Duration) {
	h.ask(tokentest.NewToken(h.t, "elastic/fleet-server/"+name, fmt.Sprint("guess-guess-", rand.Uint64())), patience)
}

func unused() string { return fmt.Sprint("unused", rand.IntN(500)) }

// otherLogins is a host most of whose users log in without a service token, and whose
// source fails.
func otherLogins(t *testing.T) (*host, func()) {
	h := withSource(t, tokencache.GroupConfig{}, 0)
	h.every(time.Millisecond, func() { h.group.Authenticate(h.ctx, "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln") })
	return h, func() { h.src.SetError(errRoute) }
}

// coldStart is the first use of a thousand tokens, at once.
func coldStart(t *testing.T) (*host, func()) {
	h := newHost(t, "", tokencache.GroupConfig{})
	cache(h, "source", &h.src, cached)
	h.fill(1000, time.Millisecond)
	return h, func() {
		for _, token := range h.tokens {
			h.callers.Go(func() { h.ask(token, 30*time.Second) })
		}
		h.serve()
	}
}

func storm(t *testing.T) (*host, func()) {
	h := withSource(t, tokencache.GroupConfig{}, 0)
	return h, func() {
		h.every(20*time.Millisecond, func() {
			evict.New(h.group).Evict(h.ctx, account.Namespace, account.Service, "*")
		})
	}
}
