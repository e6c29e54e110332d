package svctoken_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

func Example() {
	dir, err := os.MkdirTemp("", "svctoken-") // a server has a file of its own
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file, err := filesource.Open(filepath.Join(dir, "service_tokens"), filesource.Config{})
	if err != nil {
		log.Fatal(err) // lists every bad line
	}
	defer file.Close()
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "file", file, tokencache.Config{}); err != nil {
		log.Fatal(err)
	}

	ctx, account := context.Background(), tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	token, err := file.Create(ctx, account.TokenID("token1"))
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := group.Authenticate(ctx, "Bearer "+token.RevealBearer()) // what a client sends
	fmt.Println(verdict.Token, verdict.Cache, err)
	report, err := evict.New(group).Evict(ctx, "elastic", "fleet-server", "token1,token2")
	fmt.Println(report.Evicted, err)
	// Output:
	// elastic/fleet-server/token1 file <nil>
	// map[file:1] <nil>
}
