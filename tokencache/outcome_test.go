package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestErrorTexts: what a host finds in its log. A part that is empty leaves no trace.
func TestErrorTexts(t *testing.T) {
	id := fleet.TokenID("token1")
	for _, test := range []struct {
		err  error
		want string
	}{
		{&tokencache.RefusedError{Token: id, Reason: tokencache.ReasonWrongSecret}, "tokencache: token refused: elastic/fleet-server/token1: wrong_secret"},
		{&tokencache.RefusedError{Reason: tokencache.ReasonSecretLength}, "tokencache: token refused: secret_length"},
		{&tokencache.NoAnswerError{Cache: "index", Token: id, Reason: tokencache.ReasonSourceFailed, Err: errors.New("down")}, `tokencache: cache "index": no answer (source_failed): down`},
		{&tokencache.NoAnswerError{Cache: "index", Token: id, Reason: tokencache.ReasonOverloaded}, `tokencache: cache "index": no answer (overloaded)`},
		{&tokencache.NoAnswerError{Token: id, Reason: tokencache.ReasonLapsed}, "tokencache: no answer (lapsed)"},
		{tokencache.ErrNotServiceToken, "tokencache: not a service token"},
		{tokencache.ErrRefused, "tokencache: token refused"},
		{tokencache.ErrOverloaded, "tokencache: overloaded"},
		{tokencache.ErrClosed, "tokencache: closed"},
		{fmt.Errorf("host: %w", &tokencache.NoAnswerError{Reason: tokencache.ReasonClosed}), "host: tokencache: no answer (closed)"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// TestReasonNames: what metrics label.
func TestReasonNames(t *testing.T) {
	for reason, want := range []string{
		"none", "unknown_account", "unknown_token", "wrong_secret", "disabled", "expired", "secret_length",
		"source_failed", "source_timeout", "source_panicked", "unavailable", "overloaded", "gave_up", "lapsed", "closed", "unknown",
	} {
		if got := tokencache.Reason(reason).String(); got != want {
			t.Errorf("%d: got %q, want %q", reason, got, want)
		}
	}
	if got := tokencache.Reason(-1).String(); got != "unknown" {
		t.Errorf("-1: got %q", got)
	}
}

// TestNoAnswerTexts: what Err says if a source gives no answer.
func TestNoAnswerTexts(t *testing.T) {
	token := mustToken(t, "a/a/a", "supersecret")
	for _, test := range []struct {
		name   string
		source asked
		before int // how often it is asked before
		want   string
	}{
		{"it hangs", func(ctx context.Context, _ tokencache.TokenID) (tokencache.Answer[record], error) {
			<-ctx.Done()
			return tokencache.Answer[record]{}, ctx.Err()
		}, 0, "(source_timeout): its source, or the hash, took longer than 10s"},
		{"it has hung too often", func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) {
			time.Sleep(time.Hour)
			return tokencache.Answer[record]{}, nil
		}, 8, "(unavailable): too many loads hang in its source"},
		{"it fails", func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) {
			return tokencache.Answer[record]{}, errOutage
		}, 0, "(source_failed): outage"},
		{"a timeout of its own", func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) {
			return tokencache.Answer[record]{}, context.DeadlineExceeded
		}, 0, "(source_failed): context deadline exceeded"},
		{"it has failed too often", func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) {
			return tokencache.Answer[record]{}, errOutage
		}, 5, "(unavailable): its source keeps failing, and is left alone for a moment: outage"},
		{"no verifier", func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) {
			return tokencache.Answer[record]{Held: true}, nil
		}, 0, "(source_failed): the source holds the token, and does not say how to verify its secret"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := solo(t, test.source, tokencache.Config{MaxLoads: 64})
				for range test.before {
					check(t, c, token, "error")
				}
				_, err := c.AuthenticateToken(t.Context(), token)
				if want := `tokencache: cache "test": no answer ` + test.want; err == nil || err.Error() != want {
					t.Errorf("got %v, want %s", err, want)
				}
			})
		})
	}
}
