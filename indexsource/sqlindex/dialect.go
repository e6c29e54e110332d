package sqlindex

import "strings"

// A Dialect is the SQL of a database engine.
type Dialect int

const (
	SQLite     Dialect = iota + 1 // 3.35 or later
	PostgreSQL                    // 13 or later
)

// String returns the engine's name.
func (d Dialect) String() string {
	switch d {
	case SQLite:
		return "SQLite"
	case PostgreSQL:
		return "PostgreSQL"
	default:
		return "unknown dialect"
	}
}

// bind writes the parameters $1, $2 as the engine does: SQLite takes $1 for a name.
func (d Dialect) bind(query string) string {
	if d == SQLite {
		return strings.ReplaceAll(query, "$", "?")
	}
	return query
}

// recovering is an expression: whether the server that answers is a replica.
func (d Dialect) recovering() string {
	if d == PostgreSQL {
		return "pg_is_in_recovery()"
	}
	return "FALSE"
}

// triggers is an expression: how many of the schema's triggers are in force. On
// PostgreSQL, the one for replicated rows must run only in replication's workers, two
// must run everywhere, and the others everywhere except in replication's workers.
func (d Dialect) triggers() string {
	if d == PostgreSQL {
		return `(SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('svctoken_tokens'::regclass, 'svctoken_meta'::regclass) AND tgname LIKE 'svctoken\_%'
AND tgenabled = CASE tgname WHEN 'svctoken_tokens_replicate' THEN 'R' WHEN 'svctoken_tokens_truncate' THEN 'A' WHEN 'svctoken_meta_rev' THEN 'A' ELSE 'O' END)`
	}
	return `(SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'svctoken\_%' ESCAPE '\')`
}

// uses are the rows of a parameter, a JSON array of arrays: namespace, service, name and
// time. One parameter holds any number.
func (d Dialect) uses() string {
	if d == PostgreSQL {
		return `SELECT e->>0 AS namespace, e->>1 AS service, e->>2 AS name, (e->>3)::BIGINT AS used FROM json_array_elements($1::json) e`
	}
	return `SELECT json_extract(value, '$[0]') AS namespace, json_extract(value, '$[1]') AS service, json_extract(value, '$[2]') AS name, json_extract(value, '$[3]') AS used FROM json_each(?1)`
}

// later is an expression: the later of two times.
func (d Dialect) later() string {
	if d == PostgreSQL {
		return "GREATEST(u.used, EXCLUDED.used)"
	}
	return "max(u.used, EXCLUDED.used)"
}
