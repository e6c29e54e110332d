// Package tokengrpc authenticates the calls of a gRPC server with a tokencache.Group.
//
// For most uses, give both interceptors to the server, and ask the context of a
// method who called it:
//
//	server := grpc.NewServer(
//		grpc.UnaryInterceptor(tokengrpc.Unary(group, tokengrpc.Config{})),
//		grpc.StreamInterceptor(tokengrpc.Stream(group, tokengrpc.Config{})),
//	)
//
//	verdict, _ := tokengrpc.Verdict(ctx)
//
// What happens to a call depends on its metadata authorization:
//
//	its token is confirmed          the method, with the verdict in the context
//	it has no service token         Config.Other; without it, Unauthenticated
//	its token is refused            Unauthenticated
//	more than one authorization     Unauthenticated
//	the caller has given up         Canceled or DeadlineExceeded
//	nobody can tell, or overloaded  Unavailable, with RetryInfo and grpc-retry-pushback-ms
//
// Each status, except those of a caller that gave up, has a google.rpc.ErrorInfo, see
// [Domain], so that a client need not read texts. A stream is authenticated when it
// begins. The package logs nothing, and the method does not see the metadata
// authorization of a call that was confirmed.
//
// A client sends its token by [Credentials].
package tokengrpc
