package tokengrpc_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	tokengrpc "github.com/svctoken/svctoken/adapters/tokengrpc"
	"github.com/svctoken/svctoken/tokencache"
)

func Example() {
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	server := grpc.NewServer(
		grpc.UnaryInterceptor(tokengrpc.Unary(group, tokengrpc.Config{})),
		grpc.StreamInterceptor(tokengrpc.Stream(group, tokengrpc.Config{})),
	)
	defer server.Stop()
	fmt.Println(len(server.GetServiceInfo()), "services")
	// Output: 0 services
}

// A method's own test needs no token.
func ExampleWithVerdict() {
	method := func(ctx context.Context) {
		verdict, ok := tokengrpc.Verdict(ctx)
		fmt.Println(verdict.Token.Account, ok)
	}
	account := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	method(tokengrpc.WithVerdict(context.Background(), tokencache.Verdict[any]{Token: account.TokenID("token1")}))
	// Output: elastic/fleet-server true
}
