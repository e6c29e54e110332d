package tokengrpc

import (
	"context"
	"errors"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/svctoken/svctoken/tokencache"
)

// Config holds the options of the interceptors. The zero value is the recommended
// production setting of a server that takes service tokens only.
type Config struct {
	// Other authenticates the calls that have no service token: none at all, or
	// credentials of another scheme. It returns the context for the method, or the
	// status with which the call ends. It also decides which methods need no
	// credentials, a health check for example. Nil: such calls are Unauthenticated.
	Other func(ctx context.Context, fullMethod string) (context.Context, error)

	// Report is called for each call that is turned away, for the host's log: the error
	// says more than the client learns, and has no secret. It may be called concurrently.
	// Nil: it is not called.
	Report func(ctx context.Context, fullMethod string, err error)
}

const authorization = "authorization"

// An Authenticator judges the metadata authorization, as tokencache.Group.Authenticate
// does. It is a *tokencache.Group, or something that wraps one, such as a
// tokenotel.Traced. It must be safe for concurrent use by multiple goroutines.
type Authenticator interface {
	Authenticate(ctx context.Context, authorization string) (tokencache.Verdict[any], error)
}

var _ Authenticator = (*tokencache.Group)(nil)

// Unary returns an interceptor which authenticates each call by its metadata.
func Unary(group Authenticator, cfg Config) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		ctx, err := authenticate(ctx, group, cfg, info.FullMethod, func(md metadata.MD) { grpc.SetTrailer(ctx, md) })
		if err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}
}

// Stream returns an interceptor which authenticates each stream by its metadata, when it
// begins. A later eviction does not end it.
func Stream(group Authenticator, cfg Config) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		ctx, err := authenticate(stream.Context(), group, cfg, info.FullMethod, stream.SetTrailer)
		if err != nil {
			return err
		}
		return handler(srv, confirmedStream{stream, ctx})
	}
}

// A confirmedStream is a stream with the context that has the verdict.
type confirmedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s confirmedStream) Context() context.Context { return s.ctx }

// authenticate returns the context for the method, or the status with which the call
// ends.
func authenticate(ctx context.Context, group Authenticator, cfg Config, method string, trailer func(metadata.MD)) (context.Context, error) {
	report := func(told, err error) (context.Context, error) {
		if cfg.Report != nil {
			cfg.Report(ctx, method, err)
		}
		return nil, told
	}
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get(authorization)
	if len(values) > 1 {
		return report(errSeveral, errSeveral)
	}
	value := ""
	if len(values) == 1 {
		value = values[0]
	}
	verdict, err := group.Authenticate(ctx, value)
	switch {
	case err == nil:
		md = md.Copy()
		delete(md, authorization)
		return WithVerdict(metadata.NewIncomingContext(ctx, md), verdict), nil
	case errors.Is(err, tokencache.ErrNotServiceToken) && cfg.Other != nil:
		return cfg.Other(ctx, method)
	case errors.Is(err, tokencache.ErrNotServiceToken):
		return report(errMissing, err)
	case errors.Is(err, tokencache.ErrRefused):
		return report(errRefused, err)
	case ctx.Err() != nil:
		return report(status.FromContextError(ctx.Err()).Err(), err) // the caller's doing, not an outage
	default:
		wait := retryAfter(err)
		trailer(metadata.Pairs("grpc-retry-pushback-ms", strconv.FormatInt(max(1, wait.Milliseconds()), 10)))
		return report(noAnswer(err, wait), err)
	}
}

type verdictKey struct{}

// Verdict returns the verdict on the call whose context this is, or false if no
// interceptor has confirmed its token. The record is of the type of the cache's source.
func Verdict(ctx context.Context) (tokencache.Verdict[any], bool) {
	v, ok := ctx.Value(verdictKey{}).(tokencache.Verdict[any])
	return v, ok
}

// WithVerdict returns a context in which [Verdict] finds the verdict: for tests of
// methods, and for hosts that authenticate in another way.
func WithVerdict(ctx context.Context, verdict tokencache.Verdict[any]) context.Context {
	return context.WithValue(ctx, verdictKey{}, verdict)
}
