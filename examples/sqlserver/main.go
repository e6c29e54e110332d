// Command sqlserver is the auth server of examples/authserver with its index in an SQL
// database, so that tokens outlive the process, and any number of servers share them.
//
//	go -C examples/sqlserver run .
//	go -C examples/sqlserver run . -index sqlite:/var/tmp/tokens.db
//	go -C examples/sqlserver run . -index postgres://user@host/database
//
// Without -index it uses a SQLite file in a temporary folder, which it removes when it
// ends. It creates its tables if there are none. The other flags, and the requests, are
// those of authserver. The command in folder admin administers the same tokens.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/svctoken/svctoken/examples/authserver/server"
	"github.com/svctoken/svctoken/examples/sqlserver/internal/dsn"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/indexsource/sqlindex/pglisten"
)

func main() {
	var o server.Options
	name := flag.String("index", "", "the index: "+dsn.Usage+" (default: SQLite in a temporary folder)")
	poll := flag.Duration("index-poll", time.Second, "how often to ask the database for changes by others")
	gone := flag.Duration("index-gone-after", 0, "how long the database may be unreachable before the tokens in memory are forgotten; 0: they work until their TTL")
	server.Main("sqlserver", &o, func(ctx context.Context) error {
		return run(ctx, o, *name, sqlindex.Config{Poll: *poll, GoneAfter: *gone})
	})
}

// run serves until the context is done.
func run(ctx context.Context, o server.Options, name string, cfg sqlindex.Config) error {
	if name == "" {
		dir, err := os.MkdirTemp("", "svctoken-sqlserver-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		name = "sqlite:" + filepath.Join(dir, "tokens.db")
	}
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	store, err := dsn.Open(name, cfg)
	if err != nil {
		return fmt.Errorf("-index: %w", err)
	}
	defer store.Close()
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	fmt.Println("Index", store.Name)
	store.Listen(pglisten.Config{Logger: cfg.Logger})
	return server.Run(ctx, o, index{store})
}

// An index is a store as the server needs it.
type index struct{ *dsn.Store }

var _ server.Index = index{}

// Describe says which database this is, and what the last poll has found.
func (ix index) Describe(context.Context) server.Description {
	status := ix.Status()
	return server.Description{Kind: ix.Name, Revision: strconv.FormatInt(status.Rev, 10), Polled: status.Polled, Err: status.Err}
}
