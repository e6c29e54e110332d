package sqlindex

import (
	"database/sql"
	"fmt"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// documentColumns are the columns of a document, without its hashes.
const documentColumns = `t.created, t.creator, t.enabled, t.expires, t.rotated, t.rotated_by, t.previous_expires`

// columns are the columns of a document. All are NULL if there is no document.
type columns struct {
	created, expires, rotated, previousExpires sql.NullInt64
	creator, rotatedBy                         sql.NullString
	enabled                                    sql.NullBool
	hash, previous                             sql.NullString
}

// targets are the variables that documentColumns are read into.
func (c *columns) targets() []any {
	return []any{&c.created, &c.creator, &c.enabled, &c.expires, &c.rotated, &c.rotatedBy, &c.previousExpires}
}

func (c *columns) document(id tokencache.TokenID) (indexsource.Document, error) {
	doc := indexsource.Document{
		Token: id, Created: timeOf(c.created), Creator: c.creator.String, Enabled: c.enabled.Bool, Expires: timeOf(c.expires),
		Rotated: timeOf(c.rotated), RotatedBy: c.rotatedBy.String, PreviousExpires: timeOf(c.previousExpires),
	}
	for _, hash := range []struct {
		text string
		to   *tokenhash.Hash
	}{{c.hash.String, &doc.Hash}, {c.previous.String, &doc.Previous}} {
		if hash.text == "" {
			continue
		}
		var err error
		if *hash.to, err = tokenhash.Parse(hash.text); err != nil {
			return indexsource.Document{}, fmt.Errorf("sqlindex: token %s: password hash: %w", id, err)
		}
	}
	return doc, nil
}
