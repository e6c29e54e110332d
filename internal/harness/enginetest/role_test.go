package enginetest

import (
	"testing"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
)

// TestRoles: the privileges that docs/sql-operations.md names are enough, and a role that may only
// read changes nothing.
func TestRoles(t *testing.T) {
	d := postgres(t)
	d.migrate(t)
	db := d.open(t)
	for _, statement := range []string{
		"CREATE ROLE " + d.schema + "_writer",
		"CREATE ROLE " + d.schema + "_reader",
		"GRANT USAGE ON SCHEMA " + d.schema + " TO " + d.schema + "_writer, " + d.schema + "_reader",
		"GRANT SELECT, INSERT, UPDATE, DELETE ON svctoken_tokens TO " + d.schema + "_writer",
		"GRANT SELECT ON svctoken_revs, svctoken_history TO " + d.schema + "_writer",
		"GRANT SELECT, INSERT ON svctoken_changes TO " + d.schema + "_writer",
		"GRANT SELECT, INSERT, UPDATE, DELETE ON svctoken_used TO " + d.schema + "_writer",
		"GRANT SELECT, UPDATE ON svctoken_meta TO " + d.schema + "_writer",
		"GRANT SELECT ON svctoken_tokens, svctoken_changes, svctoken_revs, svctoken_meta TO " + d.schema + "_reader",
	} {
		execSQL(t, db, statement)
	}
	writing, reading := d, d
	writing.dsn += "&role=" + d.schema + "_writer"
	reading.dsn += "&role=" + d.schema + "_reader"
	writer, reader := writing.node(t, sqlindex.Config{}), reading.node(t, sqlindex.Config{})
	token := writer.create(t, "token1")
	reader.poll(t)
	reader.want(t, token, "confirmed")
	if err := reader.index.Delete(t.Context(), token.ID()); err == nil {
		t.Error("a role that may only read deletes a token")
	}
	if _, err := writer.index.Rotate(t.Context(), token.ID(), 0, "me"); err != nil {
		t.Error(err)
	}
	if err := writer.index.Delete(t.Context(), token.ID()); err != nil {
		t.Error(err)
	}
	reader.poll(t)
	reader.want(t, token, "refused")
}
