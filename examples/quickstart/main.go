// Command quickstart shows svctoken at work and exits: it creates tokens in a file
// and in an index, authenticates them, evicts, edits the file behind the library's
// back, and prints the caches' counters after each step.
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "svctoken-quickstart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	// The file and the index: where tokens live.
	reloaded := make(chan filesource.Status, 10)
	path := filepath.Join(dir, "service_tokens")
	file, err := filesource.Open(path, filesource.Config{
		Poll:     50 * time.Millisecond,
		OnReload: func(st filesource.Status) { reloaded <- st },
	})
	if err != nil {
		return err
	}
	defer file.Close()
	var index indexsource.Memory

	// The caches, in one group: what is evicted together.
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	fileCache, err := tokencache.New(group, "file", file, tokencache.Config{})
	if err != nil {
		return err
	}
	indexCache, err := tokencache.New(group, "index", indexsource.New(&index), tokencache.Config{})
	if err != nil {
		return err
	}
	step := func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
		f, i := fileCache.Stats(), indexCache.Stats()
		fmt.Printf("    file cache:  %d entries, %d hits, %d loads, %d evicted\n", f.Entries, f.Hits, f.Loads, f.Evicted)
		fmt.Printf("    index cache: %d entries, %d hits, %d loads, %d evicted\n\n", i.Entries, i.Hits, i.Loads, i.Evicted)
	}

	fleet := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	var tokens []tokencache.Token
	for _, name := range []string{"token1", "token2"} {
		token, err := file.Create(ctx, fleet.Token(name))
		if err != nil {
			return err
		}
		<-reloaded
		tokens = append(tokens, token)
	}
	token, err := index.Create(fleet.Token("token3"), "quickstart")
	if err != nil {
		return err
	}
	tokens = append(tokens, token)
	step("Created token1 and token2 in the file, token3 in the index.")

	authenticate := func(token tokencache.Token) {
		start := time.Now()
		verdict, err := group.Authenticate(ctx, "Bearer "+token.RevealBearer())
		if err != nil {
			fmt.Printf("%v: %v (%v)\n", token, err, time.Since(start))
			return
		}
		fmt.Printf("%v: authenticated by the %s cache (%v)\n", verdict.Token, verdict.Cache, time.Since(start))
	}
	for range 2 {
		for _, token := range tokens {
			authenticate(token)
		}
	}
	step("Authenticated each twice: the first time hashes, the second remembers.")

	ev := evict.New(group)
	for _, names := range []string{"token1,token3", "*"} {
		report, err := ev.Evict(ctx, "elastic", "fleet-server", names)
		if err != nil {
			return err
		}
		step("Evicted %v: %v.", report.Selector, report.Evicted)
	}

	for _, token := range tokens {
		authenticate(token)
	}
	step("Authenticated each again: all were loaded again.")

	if err := removeLine(path, "elastic/fleet-server/token1:"); err != nil {
		return err
	}
	st := <-reloaded
	step("Removed token1 from the file with an editor; the file was reloaded by itself, with %d token, and its cache cleared.", st.Tokens)
	for _, token := range tokens {
		authenticate(token)
	}
	step("token1 is refused, the others work.")
	return nil
}

// removeLine edits the file as an operator does.
func removeLine(path, prefix string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var kept strings.Builder
	for line := range strings.Lines(string(content)) {
		if !strings.HasPrefix(line, prefix) {
			kept.WriteString(line)
		}
	}
	return os.WriteFile(path, []byte(kept.String()), 0o600)
}
