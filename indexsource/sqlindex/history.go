package sqlindex

import (
	"context"
	"database/sql"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// An Event is a line of the history: one change of a token, by whatever means. The
// database keeps it for 400 days at least, and longer than the token.
type Event struct {
	At    time.Time
	Rev   int64 // at which the change was made: a node whose Status().Rev is not less has applied it
	Token tokencache.TokenID
	What  string // created, rotated, enabled, disabled, expiry set, deleted, or changed; several with commas

	// By is the creator, the user who rotated it, or the actor of
	// indexsource.WithActor. For a change by other means it is "sql:", followed by the
	// role on PostgreSQL.
	By string
}

// History returns the last events of an account's tokens, newest first. If name is not
// empty, it returns those of that token; for the zero Account, those of all accounts.
// There are at most limit; zero: 1000. The error is an [*EngineError].
func (ix *Index) History(ctx context.Context, account tokencache.Account, name string, limit int) ([]Event, error) {
	if _, err := ix.ready(); err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = 1000
	}
	query, args := "SELECT at, rev, namespace, service, name, what, actor FROM svctoken_history", []any{limit}
	if account != (tokencache.Account{}) {
		query += " WHERE namespace = $2 AND service = $3"
		args = append(args, account.Namespace, account.Service)
	}
	if account != (tokencache.Account{}) && name != "" {
		query += " AND name = $4"
		args = append(args, name)
	}
	rows, err := ix.db.QueryContext(ctx, ix.dialect.bind(query+" ORDER BY at DESC, rev DESC LIMIT $1"), args...)
	if err != nil {
		return nil, wrap("history", err)
	}
	defer rows.Close()
	var events []Event
	for rows.Next() {
		var e Event
		var at sql.NullInt64
		if err := rows.Scan(&at, &e.Rev, &e.Token.Account.Namespace, &e.Token.Account.Service, &e.Token.Name, &e.What, &e.By); err != nil {
			return nil, wrap("history", err)
		}
		e.At = timeOf(at)
		events = append(events, e)
	}
	return events, wrap("history", rows.Err())
}
