package fleet_test

import (
	"context"
	"fmt"
	"log"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

func Example() {
	ctx := context.Background()
	shared := fleettest.NewLog() // a real fleet has a log such as fleet/fleetnats
	start := func(name string) (*tokencache.Group, *fleet.Node) {
		group := tokencache.NewGroup(tokencache.GroupConfig{})
		node, err := fleet.New(shared.Connect(), group, fleet.Config{Name: name})
		if err != nil {
			log.Fatal(err)
		}
		if _, err := tokencache.New(group, "index", indexsource.New(node.Index()), tokencache.Config{}); err != nil {
			log.Fatal(err)
		}
		if err := node.Ready(ctx); err != nil {
			log.Fatal(err)
		}
		return group, node
	}
	here, hereNode := start("here")
	defer here.Close()
	defer hereNode.Close()
	there, thereNode := start("there")
	defer there.Close()
	defer thereNode.Close()

	// In its first lease a log makes every change wait for one; a test skips that.
	shared.Settle()

	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	token, err := hereNode.Index().Create(ctx, id, "operator")
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := there.AuthenticateToken(ctx, token)
	fmt.Println(verdict.Token, err)

	if _, err := hereNode.Index().Delete(ctx, id); err != nil {
		log.Fatal(err)
	}
	_, err = there.AuthenticateToken(ctx, token)
	fmt.Println(err)
	// Output:
	// elastic/fleet-server/token1 <nil>
	// tokencache: token refused: elastic/fleet-server/token1: unknown_token
}
