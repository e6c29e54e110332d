package filesource_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

func Example() {
	dir, err := os.MkdirTemp("", "svctoken")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	file, err := filesource.Open(filepath.Join(dir, "service_tokens"), filesource.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "file", file, tokencache.Config{}); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	token, err := file.Create(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := group.Authenticate(ctx, "Bearer "+token.RevealBearer())
	fmt.Println(verdict.Token, verdict.Record, err)

	if err := file.Delete(ctx, id); err != nil {
		log.Fatal(err)
	}
	_, err = group.Authenticate(ctx, "Bearer "+token.RevealBearer())
	fmt.Println(err)
	// Output:
	// elastic/fleet-server/token1 {PBKDF2_STRETCH} <nil>
	// tokencache: token refused: elastic/fleet-server/token1: unknown_token
}
