package tokencache_test

import (
	"errors"
	"fmt"
	"testing"

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
