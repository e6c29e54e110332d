package tokencache

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A Sentinel is an error that callers compare with [errors.Is]. It is a constant,
// so that nothing can assign to it. The error types say more, for a host's log.
type Sentinel string

// Error returns the text.
func (s Sentinel) Error() string { return string(s) }

const (
	// ErrNotServiceToken is wrapped by the error for a credential that is not a
	// service token at all: another scheme, another kind of bearer, or one that is
	// damaged. It is not a refusal: a host can go on to its other schemes.
	ErrNotServiceToken Sentinel = "tokencache: not a service token"

	// ErrRefused is wrapped by the error for a service token that no source
	// confirms. A [*RefusedError] says why; clients should not be told.
	ErrRefused Sentinel = "tokencache: token refused"

	// ErrOverloaded is wrapped by the [*NoAnswerError] for an authentication that
	// was turned away, or waited too long, because there was more work than can be
	// done. Its RetryAfter says when to try again.
	ErrOverloaded Sentinel = "tokencache: overloaded"

	// ErrClosed is wrapped by the [*NoAnswerError] for an authentication that needs
	// a cache which has been closed, and by the error of [New] for a closed group.
	// Sources wrap it for what is asked of them after their Close.
	ErrClosed Sentinel = "tokencache: closed"

	// ErrNotFound is wrapped by the error of a source for a change of a token that it
	// does not hold. Reads report absence with a bool.
	ErrNotFound Sentinel = "tokencache: no such token"

	// ErrExists is wrapped by the error of a source that is to create a token which
	// it holds already.
	ErrExists Sentinel = "tokencache: token exists"
)

// A Reason is why an authentication was refused, or why there was no answer. The
// zero Reason stands for neither: the token was confirmed.
type Reason int

const (
	_ Reason = iota

	// Refusals.
	ReasonUnknownAccount // the host's KnownAccount says no
	ReasonUnknownToken   // no source holds a token of this id
	ReasonWrongSecret    // a source holds it, with another secret
	ReasonDisabled       // a source holds it, and it must not be used at present
	ReasonExpired        // a source holds it, and it has expired
	ReasonSecretLength   // the secret is shorter than 10 bytes, or longer than GroupConfig.MaxSecret

	// No answer.
	ReasonSourceFailed   // the source returned an error
	ReasonSourceTimeout  // the source took longer than Config.LoadTimeout
	ReasonSourcePanicked // the source panicked, or ended its goroutine
	ReasonUnavailable    // the source was not asked: it has failed too often, or too many of its loads hang
	ReasonOverloaded     // too many loads or password hashes are waiting
	ReasonGaveUp         // the caller's context was done
	ReasonLapsed         // the group's lease has lapsed
	ReasonClosed         // the cache is closed
)

var reasonNames = [...]string{
	"none",
	"unknown_account", "unknown_token", "wrong_secret", "disabled", "expired", "secret_length",
	"source_failed", "source_timeout", "source_panicked", "unavailable", "overloaded", "gave_up", "lapsed", "closed",
}

// String returns the reason's name in lower case with underscores, as metrics
// label it: "wrong_secret" for example.
func (r Reason) String() string {
	if r < 0 || int(r) >= len(reasonNames) {
		return "unknown"
	}
	return reasonNames[r]
}

// A RefusedError reports a token that was refused. It wraps [ErrRefused].
type RefusedError struct {
	Token  TokenID // empty if the bearer was too long to be read
	Reason Reason  // one of the refusals
}

// Error names the token and the reason.
func (e *RefusedError) Error() string {
	if e.Token == (TokenID{}) {
		return fmt.Sprintf("%v: %v", ErrRefused, e.Reason)
	}
	return fmt.Sprintf("%v: %v: %v", ErrRefused, e.Token, e.Reason)
}

// Is reports whether the target is ErrRefused.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// A NoAnswerError reports an authentication without an answer: the token
// is neither confirmed nor refused, and a server answers 503. It wraps
// [ErrOverloaded] or [ErrClosed] if its reason says so, and what Err wraps.
type NoAnswerError struct {
	Cache      string        // which cache had no answer; empty: the group as a whole
	Token      TokenID       // which token it was about
	Reason     Reason        // one of those for no answer
	RetryAfter time.Duration // when to try again; 0: not known
	Err        error         // what the source, or the caller's context, said; may be nil
	Stack      []byte        // of the goroutine that panicked, for ReasonSourcePanicked
}

// clone returns a copy, which its receiver may change.
func (e *NoAnswerError) clone() *NoAnswerError {
	c := *e
	c.Stack = slices.Clone(e.Stack)
	return &c
}

// Error names the cache and the reason, and says what Err says. It has no stack.
func (e *NoAnswerError) Error() string {
	text := "tokencache: no answer"
	if e.Cache != "" {
		text = fmt.Sprintf("tokencache: cache %q: no answer", e.Cache)
	}
	text += " (" + e.Reason.String() + ")"
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (e *NoAnswerError) Unwrap() error { return e.Err }

// Is reports whether the target is ErrOverloaded or ErrClosed, and the reason says
// so. A source that took too long is a context.DeadlineExceeded too.
func (e *NoAnswerError) Is(target error) bool {
	switch target {
	case ErrOverloaded:
		return e.Reason == ReasonOverloaded
	case ErrClosed:
		return e.Reason == ReasonClosed
	case context.DeadlineExceeded:
		return e.Reason == ReasonSourceTimeout
	default:
		return false
	}
}

// An outcome is the result of a load: confirmed, or refused for a reason, or an error
// with its reason.
type outcome struct {
	fact
	confirmed bool
	outdated  bool // refused by an expiry that whatever has evicted the token since may have moved
	reason    Reason
	err       *NoAnswerError
}

func (out *outcome) refuse(reason Reason, role role) {
	out.confirmed, out.reason, out.role = false, reason, role
}
