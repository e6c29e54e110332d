package fleetsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// newsStatement reads, as of one moment, which log this is, the last position, the id of
// its append, the id of the append that was the last one before, and the messages after
// a position.
const newsStatement = `SELECT l.uuid, l.readers, {server}, l.rev, c.id, b.id, m.position, m.key, m.value, m.deleted, m.id FROM svctoken_fleet_log l
	LEFT JOIN svctoken_fleet_appends c ON c.position = l.rev
	LEFT JOIN svctoken_fleet_appends b ON b.position = $1
	LEFT JOIN (SELECT * FROM svctoken_fleet_messages WHERE position > $2 ORDER BY position LIMIT 256) m ON TRUE
	ORDER BY m.position`

// lookTimeout is how long one look may take.
const lookTimeout = 5 * time.Second

// Follow implements fleetlog.Log. It looks for messages every Config.Poll, and when
// it is notified.
func (l *Log) Follow(ctx context.Context, from fleetlog.Position) (fleetlog.Follower, error) {
	f := &follower{log: l, last: max(from, 1) - 1}
	f.seen.rev = f.last
	if err := f.look(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// A follower has an identity of the log: when it is another one, or the log has gone
// back, or has gone another way since the follower looked last, the follower fails.
type follower struct {
	log   *Log
	last  fleetlog.Position // delivered last
	ready []fleetlog.Message
	seen  sight
}

// A sight is what a log was seen to be. The server is one that has not been restarted:
// restoring files takes a restart.
type sight struct {
	uuid, server string
	rev          fleetlog.Position
	id           string // of the append that has position rev
}

// Next implements fleetlog.Follower.
func (f *follower) Next(ctx context.Context) (fleetlog.Message, error) {
	for passed := false; len(f.ready) == 0; {
		rung := f.log.written.next()
		err := f.look(ctx)
		if err == nil && len(f.ready) == 0 {
			passed, err = f.log.rest(ctx, rung)
		} else if passed {
			f.log.missed()
		}
		if err != nil {
			return fleetlog.Message{}, err
		}
	}
	m := f.ready[0]
	f.ready = f.ready[1:]
	m.Skipped = m.Position != f.last+1
	f.last = m.Position
	return m, nil
}

// Close implements fleetlog.Follower.
func (f *follower) Close() {}

// look reads what is new, and checks that it is new in the same log.
func (f *follower) look(ctx context.Context) error {
	if err := f.log.file.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout) // a connection that was cut without a word is waited on for ever
	defer cancel()
	rows, err := f.log.db.QueryContext(ctx, f.log.news, int64(f.seen.rev), int64(f.last))
	if err != nil {
		return wrap("follow", err)
	}
	defer rows.Close()
	var now sight
	var id, before sql.NullString
	var found []fleetlog.Message
	var readers int
	for rows.Next() {
		var m storedMessage
		if err := rows.Scan(append([]any{&now.uuid, &readers, &now.server, &now.rev, &id, &before}, m.columns()...)...); err != nil {
			return wrap("follow", err)
		}
		if m.position.Valid {
			found = append(found, m.message())
		}
	}
	if err := rows.Err(); err != nil {
		return wrap("follow", err)
	}
	now.id = id.String
	if err := checkReaders(readers); err != nil {
		return err
	}
	if err := f.seen.followedBy(now, before.String); err != nil {
		return err
	}
	f.ready, f.seen = found, now
	return nil
}

// followedBy returns an error if a later sight is not of the same log further on:
// before is the id that it has at the earlier one's position.
func (s sight) followedBy(now sight, before string) error {
	switch {
	case now.rev < s.rev:
		return fmt.Errorf("fleetsql: follow: the log has gone back from position %d to %d", s.rev, now.rev)
	case s.uuid == "": // the first
		return nil
	case now.uuid != s.uuid:
		return errors.New("fleetsql: follow: it is another log")
	case now.server != s.server:
		return errors.New("fleetsql: follow: another server answers, or it was restarted, and so the log may be another one")
	case before != s.id:
		return fmt.Errorf("fleetsql: follow: the log has another message at position %d", s.rev)
	default:
		return nil
	}
}
