package svctoken_test

import (
	"context"
	"fmt"
	"log"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

func Example() {
	file, err := filesource.Open("filesource/testdata/service_tokens", filesource.Config{})
	if err != nil {
		log.Fatal(err) // lists every bad line
	}
	defer file.Close()
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "file", file, tokencache.Config{}); err != nil {
		log.Fatal(err)
	}

	ctx, authorization := context.Background(), "Bearer AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA"
	verdict, err := group.Authenticate(ctx, authorization)
	fmt.Println(verdict.Token, verdict.Cache, err)
	report, err := evict.New(group).Evict(ctx, "elastic", "fleet-server", "token1,token2")
	fmt.Println(report.Evicted, err)
	// Output:
	// elastic/fleet-server/token1 file <nil>
	// map[file:1] <nil>
}
