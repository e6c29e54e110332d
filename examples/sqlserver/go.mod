module github.com/svctoken/svctoken/examples/sqlserver

go 1.26.0

require (
	github.com/jackc/pgx/v5 v5.12.0
	github.com/ncruces/go-sqlite3 v0.37.0
	github.com/svctoken/svctoken v0.1.0
	github.com/svctoken/svctoken/indexsource/sqlindex v0.1.0
	github.com/svctoken/svctoken/indexsource/sqlindex/pglisten v0.1.0
	golang.org/x/term v0.48.0
)

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/ncruces/go-sqlite3-wasm/v6 v6.5.35401 // indirect
	github.com/ncruces/julianday v1.0.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace (
	github.com/svctoken/svctoken => ../..
	github.com/svctoken/svctoken/indexsource/sqlindex => ../../indexsource/sqlindex
	github.com/svctoken/svctoken/indexsource/sqlindex/pglisten => ../../indexsource/sqlindex/pglisten
)
