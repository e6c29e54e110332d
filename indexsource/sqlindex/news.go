package sqlindex

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
)

// manyChanges is how many changed documents a poll reads at most. If there are more, the
// caches forget everything, which costs less.
const manyChanges = 4096

// glanceQuery finds out whether anything has changed. It has no list to plan, and so
// takes a fifth of the time of pollQuery; nearly all polls find nothing.
const glanceQuery = `SELECT m.uuid, m.format, m.readable_by, m.rev, m.swept, COALESCE(b.mark, ''), %s, %s
FROM svctoken_meta m LEFT JOIN svctoken_revs b ON b.rev = $1`

// pollQuery is one statement, and so one snapshot: no change falls between its parts.
const pollQuery = `SELECT m.uuid, m.format, m.readable_by, m.rev, m.swept, COALESCE(a.mark, ''), COALESCE(b.mark, ''), %s, %s, c.kind, c.namespace, c.service, c.name
FROM svctoken_meta m
LEFT JOIN svctoken_revs a ON a.rev = m.rev
LEFT JOIN svctoken_revs b ON b.rev = $1
LEFT JOIN (SELECT * FROM svctoken_changes WHERE rev > $1 ORDER BY rev LIMIT $2) c ON TRUE`

// A news is what a poll has read.
type news struct {
	position
	format   format
	swept    int64
	thenMark string // at the rev that was seen last
	replica  bool
	triggers int
	blind    bool // some of the schema's triggers are not in force: there may be changes that it does not list
	same     bool // nothing was written since the last poll

	changed []tokencache.TokenID
	evicted []tokencache.Selector
	unknown bool // there are changes that this program does not know
}

// The kinds of changes.
const (
	kindToken = "token" // a token was created, changed or deleted
	kindEvict = "evict" // somebody has asked to forget names of an account
)

// look reads what has changed since the last poll that succeeded.
func (ix *Index) look(ctx context.Context) (news, error) {
	seen, err := ix.ready()
	if err != nil {
		return news{}, err
	}
	if ix.dialect == SQLite {
		if ix.db.Stats().MaxOpenConnections == 1 { // the poller would keep the only connection
			defer ix.pinned.drop()
		}
		return ix.pinned.look(ctx, ix, seen)
	}
	if seen.uuid != "" {
		if n, err := ix.glance(ctx, seen); err != nil || n.position == seen {
			return n, err
		}
	}
	rows, err := ix.poll.rows(ctx, ix.db, seen.rev, manyChanges+1)
	if err != nil {
		return news{}, wrap("poll", err)
	}
	return ix.readNews(rows, seen)
}

// glance reads the position of the index, and no changes. If it is another position than
// the last one, pollQuery reads everything again, in a snapshot of its own.
func (ix *Index) glance(ctx context.Context, seen position) (news, error) {
	var n news
	err := ix.glances.queryRow(ctx, ix.db, []any{seen.rev}, &n.uuid, &n.format.version, &n.format.readableBy, &n.rev, &n.swept, &n.thenMark, &n.replica, &n.triggers)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return news{}, errNoIndex
	case err != nil:
		return news{}, wrap("poll", err)
	}
	n.mark = n.thenMark // if the rev is the same
	n.blind = n.triggers < triggersOf[ix.dialect]
	return n, ix.check(n, seen)
}

// readNews reads the rows of a poll, and closes them.
func (ix *Index) readNews(rows *sql.Rows, seen position) (news, error) {
	defer rows.Close()
	var n news
	found := false
	for rows.Next() {
		found = true
		var kind, namespace, service, name sql.NullString
		err := rows.Scan(&n.uuid, &n.format.version, &n.format.readableBy, &n.rev, &n.swept, &n.mark, &n.thenMark, &n.replica, &n.triggers,
			&kind, &namespace, &service, &name)
		if err != nil {
			return news{}, wrap("poll", err)
		}
		if kind.Valid {
			n.add(kind.String, tokencache.Account{Namespace: namespace.String, Service: service.String}, name.String)
		}
	}
	if err := rows.Err(); err != nil {
		return news{}, wrap("poll", err)
	}
	if !found {
		return news{}, errNoIndex
	}
	n.blind = n.triggers < triggersOf[ix.dialect]
	return n, ix.check(n, seen)
}

// add adds a row of svctoken_changes.
func (n *news) add(kind string, account tokencache.Account, name string) {
	switch kind {
	case kindToken:
		n.changed = append(n.changed, account.TokenID(name))
	case kindEvict:
		sel, err := evict.Parse(account.Namespace, account.Service, name)
		if err != nil {
			n.unknown = true // a later version may accept more names than this one
			return
		}
		n.evicted = append(n.evicted, sel)
	default:
		n.unknown = true
	}
}

// errNoIndex says that the tables exist, but not the row that identifies the index.
var errNoIndex = errors.New("sqlindex: poll: svctoken_meta is empty")

// check returns an error for an answer that a poll must not believe.
func (ix *Index) check(n news, seen position) error {
	switch {
	case n.replica && !ix.cfg.AllowReplicas:
		return fmt.Errorf("sqlindex: poll: %w", ErrReplica)
	case n.replica && n.uuid == seen.uuid && n.rev < seen.rev:
		return fmt.Errorf("sqlindex: poll: %w", ErrBehind) // it lags; a primary would have been set back
	default:
		return nil
	}
}

// doubtful reports whether the list of changes may leave something out: the index has
// another history than at the last poll, the list was cut, some of it has expired, this
// program does not know a kind of change in it, or triggers were off.
func (n news) doubtful(seen position) bool {
	return n.uuid != seen.uuid || n.rev < seen.rev || n.thenMark != seen.mark || n.swept > seen.rev ||
		len(n.changed)+len(n.evicted) > manyChanges || n.unknown || n.blind
}
