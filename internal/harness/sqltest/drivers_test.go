package sqltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
	_ "github.com/ncruces/go-sqlite3/driver"
	_ "modernc.org/sqlite"
)

// drivers are those that hosts use. They connect through the gate, of a PostgreSQL.
var drivers = map[string]func(dsn string, g *gate) (driver.Connector, error){
	"ncruces": func(dsn string, _ *gate) (driver.Connector, error) { return connectorOf("sqlite3", dsn) },
	"modernc": func(dsn string, _ *gate) (driver.Connector, error) { return connectorOf("sqlite", dsn) },
	"pgx": func(dsn string, g *gate) (driver.Connector, error) {
		cfg, err := pgxConfig(dsn, g)
		if err != nil {
			return nil, err
		}
		return stdlib.GetConnector(*cfg), nil
	},
	cancels: func(dsn string, g *gate) (driver.Connector, error) {
		cfg, err := pgxConfig(dsn, g)
		if err != nil {
			return nil, err
		}
		cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
			return &pgconn.CancelRequestContextWatcherHandler{Conn: c, CancelRequestDelay: 0, DeadlineDelay: 2 * time.Second}
		}
		return stdlib.GetConnector(*cfg), nil
	},
	"lib_pq": func(dsn string, g *gate) (driver.Connector, error) {
		c, err := pq.NewConnector(dsn)
		if err == nil {
			c.Dialer(g)
		}
		return c, err
	},
}

// cancels is pgx with the handler that cancels statements at the server when their
// context ends.
const cancels = "pgx that cancels"

// postgresDrivers are those for PostgreSQL.
var postgresDrivers = []string{"pgx", cancels, "lib_pq"}

func pgxConfig(dsn string, g *gate) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err == nil {
		cfg.DialFunc = g.DialContext
	}
	return cfg, err
}

// connectorOf is for drivers whose connectors have no name of their own.
func connectorOf(name, dsn string) (driver.Connector, error) {
	db, err := sql.Open(name, dsn)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if d, ok := db.Driver().(driver.DriverContext); ok {
		return d.OpenConnector(dsn)
	}
	return dsnConnector{db.Driver(), dsn}, nil
}

// A dsnConnector connects with a driver that makes no connectors.
type dsnConnector struct {
	driver driver.Driver
	dsn    string
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c dsnConnector) Driver() driver.Driver                        { return c.driver }
