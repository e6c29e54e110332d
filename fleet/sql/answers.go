package fleetsql

import (
	"context"
	"crypto/rand"
	"strings"
	"time"
)

const (
	addressPrefix = "sql."

	// sendTimeout is how long a Send may take, and sentFor how long what nobody has read
	// stays in the table.
	sendTimeout = 5 * time.Second
	sentFor     = time.Minute
)

// Listen implements fleet.Engine. What is sent stands in a table until the next look.
func (e *Engine) Listen(deliver func([]byte)) (address string, stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	address = addressPrefix + rand.Text()
	go func() {
		for ctx.Err() == nil {
			nudged := e.nudged()
			for _, data := range e.receive(ctx, address) {
				deliver(data)
			}
			e.rest(ctx, nudged)
		}
	}()
	return address, cancel, nil
}

// receive takes what was sent to the address. Of an error it returns nothing: the next
// look finds what there is.
func (e *Engine) receive(ctx context.Context, address string) (all [][]byte) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	var n int
	err := e.db.QueryRowContext(ctx, e.dialect.sql("SELECT count(*) FROM svctoken_fleet_sent WHERE address = $1"), address).Scan(&n)
	if err != nil || n == 0 {
		return nil // without a write, which SQLite has one of at a time
	}
	rows, err := e.db.QueryContext(ctx, e.dialect.sql("DELETE FROM svctoken_fleet_sent WHERE address = $1 RETURNING data"), address)
	if err != nil {
		return nil
	}
	defer rows.Close()
	for rows.Next() {
		var data []byte
		if rows.Scan(&data) != nil {
			return nil
		}
		all = append(all, data)
	}
	return all
}

// Send implements fleet.Engine. A message too many is lost.
func (e *Engine) Send(address string, data []byte) {
	if !strings.HasPrefix(address, addressPrefix) {
		return // an address of another engine
	}
	select {
	case e.sending <- struct{}{}:
		go func() {
			defer func() { <-e.sending }()
			e.send(address, data)
		}()
	default:
	}
}

// send puts the data into the table, and takes out what nobody has read. Others' turns
// come first where there are errors: nothing but speed depends on it.
func (e *Engine) send(address string, data []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	err := e.write(ctx, func(q querier) error {
		for _, step := range []struct {
			statement string
			args      []any
		}{
			{"DELETE FROM svctoken_fleet_sent WHERE n IN (SELECT n FROM svctoken_fleet_sent ORDER BY n LIMIT 4) AND written < {now} - $1", []any{sentFor.Milliseconds()}},
			{"INSERT INTO svctoken_fleet_sent (address, data, written) VALUES ($1, $2, {now})", []any{address, notNull(data)}},
			{e.append.notify, nil},
		} {
			if step.statement == "" {
				continue
			}
			if _, err := q.ExecContext(ctx, e.dialect.sql(step.statement), step.args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		e.Nudge()
	}
}
