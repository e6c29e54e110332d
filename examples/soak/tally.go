package main

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/svctoken/svctoken/tokencache"
)

// A tally counts the outcomes of authentications, as their callers see them.
type tally struct {
	confirmed, refused, overloaded, gaveUp, noAnswer atomic.Uint64
	wrong                                            atomic.Int64
}

func (t *tally) all() uint64 {
	return t.confirmed.Load() + t.refused.Load() + t.overloaded.Load() + t.gaveUp.Load() + t.noAnswer.Load()
}

// stats returns what the group must have counted.
func (t *tally) stats() tokencache.GroupStats {
	return tokencache.GroupStats{
		Confirmed: t.confirmed.Load(), Refused: t.refused.Load(),
		Overloaded: t.overloaded.Load(), GaveUp: t.gaveUp.Load(), NoAnswer: t.noAnswer.Load(),
	}
}

func (t *tally) count(err error) {
	switch {
	case err == nil:
		t.confirmed.Add(1)
	case errors.Is(err, tokencache.ErrRefused):
		t.refused.Add(1)
	case errors.Is(err, tokencache.ErrOverloaded):
		t.overloaded.Add(1)
	case gaveUp(err):
		t.gaveUp.Add(1)
	default:
		t.noAnswer.Add(1)
	}
}

func gaveUp(err error) bool {
	noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err)
	return ok && noAnswer.Reason == tokencache.ReasonGaveUp
}

// What to expect of a token that is sent. An error is never wrong.
const (
	good     = iota // it must not be refused
	bad             // it must not be confirmed
	changing        // the caller knows
)

// authenticate sends a token, and counts and checks the answer.
func (w *world) authenticate(ctx context.Context, id tokencache.TokenID, secret tokencache.Secret, want int) error {
	token, err := tokencache.NewToken(id, secret)
	if err != nil {
		return err
	}
	return w.send(ctx, id, "Bearer "+token.RevealBearer(), want)
}

func (w *world) send(ctx context.Context, id tokencache.TokenID, authorization string, want int) error {
	v, err := w.group.Authenticate(ctx, authorization)
	w.tally.count(err)
	switch {
	case err == nil && (want == bad || v.Token != id):
		w.tally.wrong.Add(1)
	case errors.Is(err, tokencache.ErrRefused) && want == good:
		w.tally.wrong.Add(1)
	}
	return err
}
