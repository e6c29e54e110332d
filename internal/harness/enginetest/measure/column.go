package main

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"
)

// A trigger runs at updates of svctoken_tokens while the host writes to its own column.
type trigger struct{ name, install, remove string }

// triggers are three choices on PostgreSQL: the schema's own, none, and one that counts
// each statement as a change, whatever it changes, as the schema's did before version 4.
var triggers = []trigger{
	{"the schema's", "SELECT 1", "SELECT 1"},
	{"none", "ALTER TABLE svctoken_tokens DISABLE TRIGGER svctoken_tokens_update", "ALTER TABLE svctoken_tokens ENABLE TRIGGER svctoken_tokens_update"},
	{"one that counts each statement", `ALTER TABLE svctoken_tokens DISABLE TRIGGER svctoken_tokens_update;
CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE svctoken_meta SET rev = rev + 1; RETURN NULL; END $$;
CREATE TRIGGER counts AFTER UPDATE ON svctoken_tokens FOR EACH STATEMENT EXECUTE FUNCTION counts()`,
		"DROP FUNCTION counts CASCADE; ALTER TABLE svctoken_tokens ENABLE TRIGGER svctoken_tokens_update"},
}

// hostsColumn prints, for each trigger in turns, how many updates a second eight writers
// make to a column of the host's own, each in rows of its own.
func (e engine) hostsColumn(ctx context.Context, db *sql.DB) error {
	if e.listen == nil || !wanted.MatchString("host's own column") {
		return nil
	}
	if _, err := db.ExecContext(ctx, "ALTER TABLE svctoken_tokens ADD COLUMN IF NOT EXISTS last_used BIGINT"); err != nil {
		return err
	}
	for range 3 {
		for _, t := range triggers {
			if _, err := db.ExecContext(ctx, t.install); err != nil {
				return err
			}
			n, err := e.columnWrites(ctx, 8, 5*time.Second)
			if err != nil {
				return err
			}
			if _, err := db.ExecContext(ctx, t.remove); err != nil {
				return err
			}
			fmt.Printf("%s: a host's own column, with %s at updates: %.0f writes a second by 8 writers (load %s)\n", e.name, t.name, n, load())
		}
	}
	return nil
}

// columnWrites returns how many updates a second there were.
func (e engine) columnWrites(ctx context.Context, writers int, lasts time.Duration) (float64, error) {
	db := e.open()
	defer db.Close()
	db.SetMaxIdleConns(writers)
	var busy sync.WaitGroup
	counts, errs := make([]int, writers), make([]error, writers)
	began := time.Now()
	for w := range writers {
		busy.Go(func() {
			for i := 0; errs[w] == nil && time.Since(began) < lasts; i++ {
				name := fmt.Sprint("token", 1+(i%100)*writers+w)
				_, errs[w] = db.ExecContext(ctx, "UPDATE svctoken_tokens SET last_used = $1 WHERE namespace = 'elastic' AND service = 'fleet-server' AND name = $2", i, name)
				counts[w]++
			}
		})
	}
	busy.Wait()
	took, total := time.Since(began).Seconds(), 0
	for w := range writers {
		total += counts[w]
		if errs[w] != nil {
			return 0, errs[w]
		}
	}
	return float64(total) / took, nil
}
