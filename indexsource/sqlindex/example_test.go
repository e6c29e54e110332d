package sqlindex_test

import (
	"context"
	"database/sql"
	"log"
	"log/slog"
	"net/http"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhealth"
)

// A host with its tokens in PostgreSQL: docs/sql.md explains each line. The driver is the
// host's choice.
func Example() {
	logger := slog.Default()
	serve := func(*tokencache.Group, evict.Evictor, http.Handler) {} // your server
	_ = func(ctx context.Context, group *tokencache.Group) error {
		db, err := sql.Open("pgx", "postgres://auth@db.example/tokens?target_session_attrs=read-write")
		if err != nil {
			return err
		}
		defer db.Close()
		db.SetMaxIdleConns(8)
		index, err := sqlindex.New(db, sqlindex.PostgreSQL, sqlindex.Config{Logger: logger})
		if err != nil {
			return err
		}
		defer index.Close()
		if err := index.Migrate(ctx); err != nil {
			log.Print(err) // the database may be down at the moment
		}
		source := indexsource.New(index)
		if _, err := tokencache.New(group, "index", source, tokencache.Config{}); err != nil {
			return err
		}
		serve(group, index.Evictor(group), tokenhealth.New(tokenhealth.Source("index", source)))
		return nil
	}
}
