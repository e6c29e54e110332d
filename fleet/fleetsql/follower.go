package fleetsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// newsStatement reads, all at one moment, which log this is, the last position, the id of
// its append, the id of the append at a position, and the messages after that position.
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

// A follower remembers the log's identity and last append. It fails if the identity has
// changed, or if the log was rolled back or replaced since the last look.
type follower struct {
	log   *Log
	last  fleetlog.Position // delivered last
	ready []fleetlog.Message
	seen  sight
}

// A sight is what a look has found the log to be. It includes the server's start, since
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

// look reads new messages, and checks that they are of the same log.
func (f *follower) look(ctx context.Context) error {
	if err := f.log.file.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout) // otherwise it would wait for ever on a connection that was cut without a word
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

// followedBy returns an error unless a later sight is of the same log, further on. Before
// is the id that the later one has at the position of the earlier one.
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
