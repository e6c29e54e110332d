package sqlindex

import (
	"context"
	"database/sql"
	"encoding/json"
	"sync"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

var _ indexsource.UseStore = (*Index)(nil)

// early is how long before the token's creation a use may be dated: the times of uses are
// coarse, and the clocks of nodes differ.
const early = 2 * time.Minute

// NoteUses notes when tokens were last used, in one statement, in a table without
// triggers; see indexsource.KeepUses. Once a day it removes the uses of tokens that no
// longer exist. The error is an [*EngineError].
func (ix *Index) NoteUses(ctx context.Context, uses map[tokencache.TokenID]time.Time) error {
	if _, err := ix.ready(); err != nil {
		return err
	}
	list := [][4]any{} // not nil, which would be null in JSON
	for id, at := range uses {
		list = append(list, [4]any{id.Account.Namespace, id.Account.Service, id.Name, at.UnixMilli()})
	}
	text, err := json.Marshal(list)
	if err != nil {
		return wrap("note uses", err)
	}
	// In order, so that two nodes which write at once do not deadlock.
	_, err = ix.db.ExecContext(ctx, `INSERT INTO svctoken_used AS u (namespace, service, name, used)
SELECT n.namespace, n.service, n.name, n.used FROM (`+ix.dialect.uses()+`) n
WHERE EXISTS (SELECT 1 FROM svctoken_tokens t WHERE t.namespace = n.namespace AND t.service = n.service AND t.name = n.name)
ORDER BY n.namespace, n.service, n.name
ON CONFLICT (namespace, service, name) DO UPDATE SET used = `+ix.dialect.later(), string(text))
	if err == nil && ix.tidying.begin(time.Now()) {
		_, err = ix.db.ExecContext(ctx, `DELETE FROM svctoken_used WHERE NOT EXISTS (
SELECT 1 FROM svctoken_tokens t WHERE t.namespace = svctoken_used.namespace AND t.service = svctoken_used.service AND t.name = svctoken_used.name)`)
	}
	return wrap("note uses", err)
}

// A daily says when to do something that is due soon after the start, and once a day.
type daily struct {
	mu   sync.Mutex
	last time.Time // guarded by mu
}

// begin reports whether to do it now.
func (d *daily) begin(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.last.IsZero() && now.Sub(d.last) < 24*time.Hour {
		return false
	}
	d.last = now
	return true
}

// LastUses returns when the tokens of an account were last used, by their names. One
// that was not used since it was created is missing. The error is an [*EngineError].
func (ix *Index) LastUses(ctx context.Context, account tokencache.Account) (map[string]time.Time, error) {
	if _, err := ix.ready(); err != nil {
		return nil, err
	}
	rows, err := ix.db.QueryContext(ctx, ix.dialect.bind(`SELECT name, used FROM svctoken_used JOIN svctoken_tokens USING (namespace, service, name)
WHERE namespace = $1 AND service = $2 AND used >= created - $3`), account.Namespace, account.Service, early.Milliseconds())
	if err != nil {
		return nil, wrap("last uses", err)
	}
	defer rows.Close()
	uses := make(map[string]time.Time)
	for rows.Next() {
		var name string
		var used sql.NullInt64
		if err := rows.Scan(&name, &used); err != nil {
			return nil, wrap("last uses", err)
		}
		uses[name] = timeOf(used)
	}
	return uses, wrap("last uses", rows.Err())
}
