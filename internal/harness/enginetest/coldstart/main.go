// Command coldstart measures the restart of a server with an SQL index, many tokens and
// many clients, when no token is remembered, with fast and with stretched hashes. It
// prints a table for docs/options.md.
//
//	go -C internal/harness run ./enginetest/coldstart
//	go -C internal/harness run ./enginetest/coldstart -hashes fast -accounts 1
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

var (
	tokens   = flag.Int("tokens", 100_000, "how many tokens the index has")
	accounts = flag.Int("accounts", 1000, "of how many accounts")
	clients  = flag.Int("clients", 4000, "how many clients send at once; each sends its next token when it has an answer")
	hashes   = flag.String("hashes", "fast,stretched", "which hashes to measure")
	longest  = flag.Duration("longest", 2*time.Minute, "how long to measure at most")
)

func main() {
	flag.Parse()
	fmt.Printf("%d tokens of %d accounts, %d clients\n\n| hash | confirmed | turned away | other errors | longest wait | time | processor |\n| --- | --- | --- | --- | --- | --- | --- |\n", *tokens, *accounts, *clients)
	secret := tokencache.GenerateSecret()
	for name := range strings.SplitSeq(*hashes, ",") {
		hash := tokenhash.New(secret)
		if name == "stretched" {
			hash = tokenhash.Stretched(secret)
		}
		if err := measure(name, secret, hash); err != nil {
			log.Fatal(err)
		}
	}
}

// measure starts a server anew, in this process.
func measure(name string, secret tokencache.Secret, hash tokenhash.Hash) error {
	dir, err := os.MkdirTemp("", "coldstart")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "index.db")+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	index, err := fill(db, hash)
	if err != nil {
		return err
	}
	defer index.Close()
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "index", indexsource.New(index), tokencache.Config{MaxEntries: 2 * *tokens}); err != nil {
		return err
	}
	r := &result{}
	began, before := time.Now(), processor()
	r.run(group, secret)
	fmt.Printf("| %s | %d | %d | %d | %v | %v | %v |\n", name, r.confirmed.Load(), r.away.Load(), r.failed.Load(),
		time.Duration(r.longest.Load()).Round(10*time.Millisecond),
		time.Since(began).Round(10*time.Millisecond), (processor() - before).Round(10*time.Millisecond))
	return nil
}

func fill(db *sql.DB, hash tokenhash.Hash) (*sqlindex.Index, error) {
	index, err := sqlindex.New(db, sqlindex.SQLite, sqlindex.Config{})
	if err != nil {
		return nil, err
	}
	if err := index.Migrate(context.Background()); err != nil {
		return nil, err
	}
	_, err = db.Exec(`INSERT INTO svctoken_tokens (namespace, service, name, hash)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1) SELECT 'a', 's' || (i % ?2), 't' || i, ?3 FROM n`, *tokens, *accounts, hash.Reveal())
	return index, err
}

type result struct{ next, confirmed, away, failed, longest atomic.Int64 }

// run sends each token once.
func (r *result) run(group *tokencache.Group, secret tokencache.Secret) {
	ctx, cancel := context.WithTimeout(context.Background(), *longest)
	defer cancel()
	order := rand.Perm(*tokens)
	var wg sync.WaitGroup
	for range *clients {
		wg.Go(func() {
			for i := r.next.Add(1) - 1; i < int64(len(order)) && ctx.Err() == nil; i = r.next.Add(1) - 1 {
				r.send(ctx, group, order[i], secret)
			}
		})
	}
	wg.Wait()
}

func (r *result) send(ctx context.Context, group *tokencache.Group, i int, secret tokencache.Secret) {
	account := tokencache.Account{Namespace: "a", Service: fmt.Sprint("s", i%*accounts)}
	token, err := tokencache.NewToken(account.TokenID(fmt.Sprint("t", i)), secret)
	if err != nil {
		panic(err) // the names are valid
	}
	began := time.Now()
	_, err = group.AuthenticateToken(ctx, token)
	for took, most := int64(time.Since(began)), r.longest.Load(); took > most && !r.longest.CompareAndSwap(most, took); {
		most = r.longest.Load()
	}
	switch {
	case err == nil:
		r.confirmed.Add(1)
	case errors.Is(err, tokencache.ErrOverloaded):
		r.away.Add(1)
	default:
		r.failed.Add(1)
	}
}

// processor returns how long this process has run, in user and system mode.
func processor() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
