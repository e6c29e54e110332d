// Package tokengrpc puts a tokencache.Group before the methods of a gRPC server.
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
// What becomes of a call, by its metadata authorization:
//
//	its token is confirmed          the method, with the verdict in the context
//	it has no service token         Config.Other; without it, Unauthenticated
//	its token is refused            Unauthenticated
//	nobody can tell, or overloaded  Unavailable, and grpc-retry-pushback-ms
//	more than one authorization     InvalidArgument
//
// A stream is authenticated when it begins. The package logs nothing, and the method
// does not see the metadata authorization of a call that was confirmed.
package tokengrpc
