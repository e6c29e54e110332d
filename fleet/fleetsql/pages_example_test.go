package fleetsql_test

import (
	"context"
	"database/sql"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
)

// A block of docs/fleet.md, compiled.

var _ = func(ctx context.Context, dsn string, join func(fleetlog.Log)) error {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	log, err := fleetsql.Open(ctx, db, fleetsql.PostgreSQL, fleetsql.Config{})
	if err != nil {
		return err
	}
	join(log)
	return nil
}
