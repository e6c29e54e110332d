package indexsource

import "context"

type actorKey struct{}

// WithActor returns a context for changes that this person or program makes, as the host
// names its users. An index that keeps a history notes it there; others do not use it.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// Actor returns the actor of [WithActor], for implementations of [Index], or "".
func Actor(ctx context.Context) string {
	actor, _ := ctx.Value(actorKey{}).(string)
	return actor
}
