package tokenhttp

import (
	"context"

	"github.com/svctoken/svctoken/tokencache"
)

// A verdictContext is a context that holds a verdict itself: context.WithValue would cost
// one more allocation, and each read of the value another.
type verdictContext struct {
	context.Context
	verdict tokencache.Verdict[any]
}

type verdictKey struct{}

// Value returns the context itself for the verdict's key.
func (c *verdictContext) Value(key any) any {
	if key == (verdictKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// Verdict returns the verdict on the request whose context this is, or false if no
// [Wrap] has confirmed its token. The record is of the type of the cache's source.
func Verdict(ctx context.Context) (tokencache.Verdict[any], bool) {
	c, ok := ctx.Value(verdictKey{}).(*verdictContext)
	if !ok {
		return tokencache.Verdict[any]{}, false
	}
	return c.verdict, true
}

// WithVerdict returns a context in which [Verdict] finds the verdict: for tests of
// handlers, and for hosts that authenticate in another way.
func WithVerdict(ctx context.Context, verdict tokencache.Verdict[any]) context.Context {
	return &verdictContext{ctx, verdict}
}
