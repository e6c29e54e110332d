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

var fleet = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

// A demo is an auth server without its network.
type demo struct {
	path       string
	file       *filesource.File
	reloaded   chan filesource.Status
	index      indexsource.Memory
	group      *tokencache.Group
	fileCache  *tokencache.Cache[filesource.Record]
	indexCache *tokencache.Cache[indexsource.Document]
}

// run walks through the steps.
func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "svctoken-quickstart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{path: filepath.Join(dir, "service_tokens"), reloaded: make(chan filesource.Status, 10)}
	if err := d.open(); err != nil {
		return err
	}
	defer d.file.Close()
	defer d.group.Close()

	tokens, err := d.create(ctx)
	if err != nil {
		return err
	}
	d.step("Created token1 and token2 in the file, token3 in the index.")

	d.authenticate(ctx, tokens)
	d.authenticate(ctx, tokens)
	d.step("Authenticated each twice: the first time hashes, the second remembers.")

	ev := evict.New(d.group)
	for _, names := range []string{"token1,token3", "*"} {
		report, err := ev.Evict(ctx, "elastic", "fleet-server", names)
		if err != nil {
			return err
		}
		d.step("Evicted %v: %v.", report.Selector, report.Evicted)
	}
	d.authenticate(ctx, tokens)
	d.step("Authenticated each again: all were loaded again.")

	if err := removeLine(d.path, "elastic/fleet-server/token1:"); err != nil {
		return err
	}
	st := <-d.reloaded
	d.step("Removed token1 from the file with an editor; the file was reloaded by itself, with %d token, and its cache cleared.", st.Tokens)
	d.authenticate(ctx, tokens)
	d.step("token1 is refused, the others work.")
	return nil
}

// open opens the file, and makes both caches, in the group in which they are
// evicted together.
func (d *demo) open() (err error) {
	d.file, err = filesource.Open(d.path, filesource.Config{
		Poll:     50 * time.Millisecond,
		OnReload: func(st filesource.Status) { d.reloaded <- st },
	})
	if err != nil {
		return err
	}
	d.group = tokencache.NewGroup(tokencache.GroupConfig{})
	d.fileCache, err = tokencache.New(d.group, "file", d.file, tokencache.Config{})
	if err != nil {
		return err
	}
	d.indexCache, err = tokencache.New(d.group, "index", indexsource.New(&d.index), tokencache.Config{})
	return err
}

// create creates two tokens in the file, and one in the index.
func (d *demo) create(ctx context.Context) ([]tokencache.Token, error) {
	var tokens []tokencache.Token
	for _, name := range []string{"token1", "token2"} {
		token, err := d.file.Create(ctx, fleet.TokenID(name))
		if err != nil {
			return nil, err
		}
		<-d.reloaded
		tokens = append(tokens, token)
	}
	token, err := d.index.Create(ctx, fleet.TokenID("token3"), "quickstart")
	return append(tokens, token), err
}

// authenticate authenticates each token, and prints which cache confirms it.
func (d *demo) authenticate(ctx context.Context, tokens []tokencache.Token) {
	for _, token := range tokens {
		start := time.Now()
		verdict, err := d.group.Authenticate(ctx, "Bearer "+token.RevealBearer())
		if err != nil {
			fmt.Printf("%v: %v (%v)\n", token, err, time.Since(start))
			continue
		}
		fmt.Printf("%v: authenticated by the %s cache (%v)\n", verdict.Token, verdict.Cache, time.Since(start))
	}
}

// step prints what was done, and the caches' counters.
func (d *demo) step(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
	f, i := d.fileCache.Stats(), d.indexCache.Stats()
	fmt.Printf("    file cache:  %d entries, %d hits, %d loads, %d evicted\n", f.Entries, f.Hits, f.Loads, f.Evicted)
	fmt.Printf("    index cache: %d entries, %d hits, %d loads, %d evicted\n\n", i.Entries, i.Hits, i.Loads, i.Evicted)
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
