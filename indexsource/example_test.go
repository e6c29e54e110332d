package indexsource_test

import (
	"context"
	"fmt"
	"log"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

func Example() {
	var index indexsource.Memory
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "index", indexsource.New(&index), tokencache.Config{}); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	token, err := index.Create(id, "operator")
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := group.AuthenticateToken(ctx, token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(verdict.Token, "created by", verdict.Record.(indexsource.Document).Creator)

	index.SetEnabled(id, false)
	_, err = group.AuthenticateToken(ctx, token)
	fmt.Println(err)
	// Output:
	// elastic/fleet-server/token1 created by operator
	// tokencache: token refused: elastic/fleet-server/token1: disabled
}

func ExampleState_Clears() {
	green := indexsource.State{Health: indexsource.HealthGreen, UUID: "a", UpToDate: true}
	yellow := indexsource.State{Health: indexsource.HealthYellow, UUID: "a", UpToDate: true}
	restored := indexsource.State{Health: indexsource.HealthGreen, UUID: "b", UpToDate: true}
	fmt.Println(green.Clears(yellow), green.Clears(restored))
	// Output: false true
}
