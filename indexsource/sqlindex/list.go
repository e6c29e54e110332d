package sqlindex

import (
	"context"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// A Page says which documents [Index.List] returns.
type Page struct {
	Account tokencache.Account // of this account; the zero Account: of all accounts
	After   tokencache.TokenID // those that follow this one; the zero TokenID: from the first
	Limit   int                // at most so many; zero: 1000
}

const listQuery = `SELECT namespace, service, name, created, creator, enabled FROM svctoken_tokens
WHERE (namespace, service, name) > ($1, $2, $3)`

// List returns documents in the order of their namespaces, services and names. They
// have no Hash. Fewer than the limit: there are no more. The next page begins after
// the last document of this one; what is created or deleted meanwhile may be missing
// or not.
//
// It reads what the database shows at the moment, from a replica too.
func (ix *Index) List(ctx context.Context, page Page) ([]indexsource.Document, error) {
	if _, err := ix.ready(); err != nil {
		return nil, err
	}
	if page.Limit <= 0 {
		page.Limit = 1000
	}
	query, args := listQuery, []any{page.After.Account.Namespace, page.After.Account.Service, page.After.Name, page.Limit}
	if page.Account != (tokencache.Account{}) {
		query += " AND namespace = $5 AND service = $6"
		args = append(args, page.Account.Namespace, page.Account.Service)
	}
	rows, err := ix.db.QueryContext(ctx, ix.engine.bind(query+" ORDER BY namespace, service, name LIMIT $4"), args...)
	if err != nil {
		return nil, wrap("list", err)
	}
	defer rows.Close()
	var docs []indexsource.Document
	for rows.Next() {
		var id tokencache.TokenID
		var row columns
		if err := rows.Scan(&id.Account.Namespace, &id.Account.Service, &id.Name, &row.created, &row.creator, &row.enabled); err != nil {
			return nil, wrap("list", err)
		}
		doc, err := row.document(id)
		if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
	return docs, wrap("list", rows.Err())
}
