package fleetsql

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
)

// This file is what nodes send to one another: it stands in a table until the next look.

const (
	addressPrefix = "sql."

	// sendTimeout is how long a look, or a batch of answers, may take, and sentFor how
	// long what nobody has read stays in the table.
	sendTimeout = 5 * time.Second
	sentFor     = time.Minute

	mostAnswers = 1024 // wait to be sent
	mostInBatch = 64
	mostAddress = 64 // bytes: a notification of PostgreSQL, with a batch's addresses, has 8000 at most
)

// An answer is what Send was called with.
type answer struct {
	address string
	data    []byte
}

// Listen implements fleet.Engine.
func (e *Engine) Listen(deliver func([]byte)) (address string, stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	address = addressPrefix + rand.Text()
	sent := &bell{}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listeners[address] = sent
	go func() {
		for ctx.Err() == nil {
			rung := sent.next()
			for _, data := range e.receive(ctx, address) {
				deliver(data)
			}
			e.rest(ctx, rung)
		}
	}()
	return address, func() {
		cancel()
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.listeners, address)
	}, nil
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

// Send implements fleet.Engine. What waits is sent together; while too many messages
// wait, further ones are lost.
func (e *Engine) Send(address string, data []byte) {
	if !strings.HasPrefix(address, addressPrefix) || len(address) > mostAddress || strings.Contains(address, " ") {
		return // an address of another engine, or of nobody: it comes from the log, which other tools may write
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.answers) >= mostAnswers {
		return
	}
	e.answers = append(e.answers, answer{address, bytes.Clone(data)})
	if !e.sending {
		e.sending = true
		go e.sendAll()
	}
}

// sendAll sends until nothing waits.
func (e *Engine) sendAll() {
	for batch := e.nextBatch(); batch != nil; batch = e.nextBatch() {
		if e.send(batch) == nil {
			e.ringFor(batch)
		} // else they are lost: nothing but speed depends on them
	}
}

// nextBatch takes answers that wait; nil, and nobody sends any more: there are none.
func (e *Engine) nextBatch() []answer {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(e.answers), mostInBatch)
	batch := slices.Clone(e.answers[:n])
	e.answers = slices.Delete(e.answers, 0, n)
	if n == 0 {
		e.sending = false
		return nil
	}
	return batch
}

// ringFor wakes listeners of this engine.
func (e *Engine) ringFor(batch []answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range batch {
		if b := e.listeners[a.address]; b != nil {
			b.ring()
		}
	}
}

// send puts answers into the table, and takes out a few that nobody has read.
func (e *Engine) send(batch []answer) error {
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	values, args := make([]string, len(batch)), make([]any, 0, 2*len(batch))
	payload := []string{channelWord}
	for i, a := range batch {
		values[i] = fmt.Sprintf("($%d, $%d, {now})", 2*i+1, 2*i+2)
		args = append(args, a.address, notNull(a.data))
		if !slices.Contains(payload, a.address) {
			payload = append(payload, a.address)
		}
	}
	return e.write(ctx, func(q querier) error {
		for _, step := range []struct {
			statement string
			args      []any
		}{
			{"DELETE FROM svctoken_fleet_sent WHERE n IN (SELECT n FROM svctoken_fleet_sent ORDER BY n LIMIT 4) AND written < {now} - $1", []any{sentFor.Milliseconds()}},
			{"INSERT INTO svctoken_fleet_sent (address, data, written) VALUES " + strings.Join(values, ", "), args},
			{e.append.notify, []any{strings.Join(payload, " ")}},
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
}
