package tokengrpc_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

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

// A client, which tries again as the server says.
func ExampleCredentials() {
	call := func(token tokencache.Token) error {
		conn, err := grpc.NewClient("tokens.example:443",
			grpc.WithTransportCredentials(credentials.NewTLS(nil)),
			grpc.WithPerRPCCredentials(tokengrpc.Credentials(token)),
			grpc.WithDefaultServiceConfig(`{"methodConfig": [{"name": [{}], "retryPolicy": {
				"maxAttempts": 4, "initialBackoff": "0.5s", "maxBackoff": "10s", "backoffMultiplier": 2,
				"retryableStatusCodes": ["UNAVAILABLE"]}}]}`))
		if err != nil {
			return err
		}
		return conn.Close()
	}
	token, err := tokencache.NewToken(tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1"), tokencache.GenerateSecret())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(call(token))
	// Output: <nil>
}
