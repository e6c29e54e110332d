package sqlindex

import (
	"context"
	"iter"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// List returns the documents of an account's tokens, in the order of the bytes of their
// names. They have no hashes. It reads what the database shows at the moment, from a
// replica too. The error is an [*EngineError].
func (ix *Index) List(ctx context.Context, account tokencache.Account) ([]indexsource.Document, error) {
	return ix.list(ctx, `WHERE namespace = $1 AND service = $2 ORDER BY name`, account.Namespace, account.Service)
}

// page is how many documents All reads at once.
const page = 1000

// All yields the documents of all accounts, in the order of the bytes of their
// namespaces, services and names, as List returns them. A token that is created or
// deleted meanwhile may be there or not. It ends after an error.
func (ix *Index) All(ctx context.Context) iter.Seq2[indexsource.Document, error] {
	return func(yield func(indexsource.Document, error) bool) {
		var last tokencache.TokenID
		for {
			docs, err := ix.list(ctx, `WHERE (namespace, service, name) > ($1, $2, $3) ORDER BY namespace, service, name LIMIT $4`,
				last.Account.Namespace, last.Account.Service, last.Name, page)
			if err != nil {
				yield(indexsource.Document{}, err)
				return
			}
			for _, doc := range docs {
				if !yield(doc, nil) {
					return
				}
				last = doc.Token
			}
			if len(docs) < page {
				return
			}
		}
	}
}

func (ix *Index) list(ctx context.Context, which string, args ...any) ([]indexsource.Document, error) {
	if _, err := ix.ready(); err != nil {
		return nil, err
	}
	rows, err := ix.db.QueryContext(ctx, ix.dialect.bind("SELECT namespace, service, name, "+documentColumns+" FROM svctoken_tokens t "+which), args...)
	if err != nil {
		return nil, wrap("list", err)
	}
	defer rows.Close()
	var docs []indexsource.Document
	for rows.Next() {
		var id tokencache.TokenID
		var row columns
		if err := rows.Scan(append([]any{&id.Account.Namespace, &id.Account.Service, &id.Name}, row.targets()...)...); err != nil {
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
