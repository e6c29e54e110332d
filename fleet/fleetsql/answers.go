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

// This file is about messages between nodes: each stays in a table until its receiver's
// next look.

const (
	addressPrefix = "sql."

	// sendTimeout is how long a look, or a batch of answers, may take. SentFor is how
	// long an unread message stays in the table.
	sendTimeout = 5 * time.Second
	sentFor     = time.Minute

	mostAnswers = 1024 // wait to be sent
	mostInBatch = 64
	mostAddress = 64 // bytes: a notification of PostgreSQL, with a batch's addresses, has 8000 at most
)

// An answer is a message that Send was called with.
type answer struct {
	address string
	data    []byte
}

// Listen implements fleetlog.Log.
func (l *Log) Listen(deliver func([]byte)) (address string, stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	address = addressPrefix + rand.Text()
	sent := &bell{}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners[address] = sent
	go func() {
		for passed := false; ctx.Err() == nil; {
			rung := sent.next()
			all := l.receive(ctx, address)
			if passed && len(all) > 0 {
				l.missed()
			}
			for _, data := range all {
				deliver(data)
			}
			passed, _ = l.rest(ctx, rung)
		}
	}()
	return address, func() {
		cancel()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.listeners, address)
	}, nil
}

// receive takes the messages to the address. After an error it returns none: the next
// look finds them.
func (l *Log) receive(ctx context.Context, address string) (all [][]byte) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	var n int
	err := l.db.QueryRowContext(ctx, l.sql("SELECT count(*) FROM svctoken_fleet_sent WHERE address = $1"), address).Scan(&n)
	if err != nil || n == 0 {
		return nil // without a write, since SQLite has one writer at a time
	}
	rows, err := l.db.QueryContext(ctx, l.sql("DELETE FROM svctoken_fleet_sent WHERE address = $1 RETURNING data"), address)
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

// Send implements fleetlog.Log. Messages that wait are sent together; while too many
// wait, further ones are dropped.
func (l *Log) Send(address string, data []byte) {
	if !strings.HasPrefix(address, addressPrefix) || len(address) > mostAddress || strings.Contains(address, " ") {
		return // not an address of this log: it comes from the log, which other tools may write to
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.answers) >= mostAnswers {
		return
	}
	l.answers = append(l.answers, answer{address, bytes.Clone(data)})
	if !l.sending {
		l.sending = true
		go l.sendAll()
	}
}

// sendAll sends until nothing waits.
func (l *Log) sendAll() {
	for batch := l.nextBatch(); batch != nil; batch = l.nextBatch() {
		if l.send(batch) == nil {
			l.ringFor(batch)
		} // otherwise they are lost: only speed depends on them
	}
}

// nextBatch takes answers that wait. If there are none it returns nil, and the caller
// stops sending.
func (l *Log) nextBatch() []answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.answers), mostInBatch)
	batch := slices.Clone(l.answers[:n])
	l.answers = slices.Delete(l.answers, 0, n)
	if n == 0 {
		l.sending = false
		return nil
	}
	return batch
}

// ringFor wakes listeners of this log.
func (l *Log) ringFor(batch []answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range batch {
		if b := l.listeners[a.address]; b != nil {
			b.ring()
		}
	}
}

// send puts answers into the table, and deletes a few old ones that nobody has read.
func (l *Log) send(batch []answer) error {
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
	return l.write(ctx, func(q querier) error {
		for _, step := range []struct {
			statement string
			args      []any
		}{
			{"DELETE FROM svctoken_fleet_sent WHERE n IN (SELECT n FROM svctoken_fleet_sent ORDER BY n LIMIT 4) AND written < {now} - $1", []any{sentFor.Milliseconds()}},
			{"INSERT INTO svctoken_fleet_sent (address, data, written) VALUES " + strings.Join(values, ", "), args},
			{l.append.notify, []any{strings.Join(payload, " ")}},
		} {
			if step.statement == "" {
				continue
			}
			if _, err := q.ExecContext(ctx, l.sql(step.statement), step.args...); err != nil {
				return err
			}
		}
		return nil
	})
}
