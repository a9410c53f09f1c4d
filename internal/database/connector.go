package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// session has the parameters of every connection to PostgreSQL; those of the URL take precedence.
var session = map[string]string{
	"idle_in_transaction_session_timeout": "15s", // a process that stands still must not hold row locks
	"lock_timeout":                        "10s", // nor may somebody else's long transaction hold a worker
	"plan_cache_mode":                     "force_custom_plan",
	"jit":                                 "off", // it takes longer than any query here
	"random_page_cost":                    "1.1", // look-ups by key, also where the statistics of a growing table are old
}

// startup are the parameters that every pooler takes when a client connects, and keeps for the client. It refuses
// others.
var startup = []string{"application_name", "client_encoding", "DateStyle", "TimeZone", "options"}

// poolerIdleTime is how long an unused connection to a pooler stays open: one in session mode keeps a connection of
// the server from all other processes that long.
const poolerIdleTime = 2 * time.Second

// connector connects to PostgreSQL, and finds out whether a pooler such as PgBouncer stands between. On a connection
// of our own it sets the parameters of the session. Behind a pooler in transaction mode each transaction may run on
// another connection of the server, which other programs use as well: there nothing is prepared, and each transaction
// sets for itself what it needs. That works in session mode too, so the two need not be distinguished.
type connector struct {
	direct, pooled driver.Connector
	settings       []string // calls of set_config up to its last argument, which set adds
	path           string   // search_path of the URL
	isPooled       atomic.Bool
	onPooler       func() // called when a pooler is found
}

func newConnector(cfg *pgx.ConnConfig) *connector {
	params := maps.Clone(session)
	for name, value := range cfg.RuntimeParams {
		if !slices.ContainsFunc(startup, func(s string) bool { return strings.EqualFold(s, name) }) {
			params[name] = value
			delete(cfg.RuntimeParams, name)
		}
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "tocsin"
	}
	cfg.RuntimeParams["TimeZone"] = "UTC"
	c := &connector{path: params["search_path"]}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		c.settings = append(c.settings, "set_config("+literal(name)+", "+literal(params[name])+", ")
	}
	c.direct = stdlib.GetConnector(*cfg)
	pooled := *cfg
	if pooled.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		pooled.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	c.pooled = stdlib.GetConnector(pooled)
	return c
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// set is a list of expressions that sets all parameters, for the session or for the transaction.
func (c *connector) set(transaction bool) string {
	list := make([]string, len(c.settings))
	for i, s := range c.settings {
		list[i] = fmt.Sprintf("%s%t)", s, transaction)
	}
	return strings.Join(list, ", ")
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return c.direct.Driver() }

// errSearchPath: behind a pooler, a search_path from the URL would hold within transactions alone.
var errSearchPath = errors.New("a connection pooler does not keep the search_path of DATABASE_URL: take it out, and " +
	"set it with ALTER ROLE … IN DATABASE … SET search_path = …")

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if !c.isPooled.Load() {
		conn, err := c.direct.Connect(ctx)
		if err != nil {
			return nil, err
		}
		direct, err := c.settle(ctx, conn.(*stdlib.Conn).Conn())
		if err == nil && direct {
			return conn, nil
		}
		_ = conn.Close()
		if err != nil {
			return nil, err
		}
		c.isPooled.Store(true)
		c.onPooler()
	}
	if c.path != "" {
		return nil, errSearchPath
	}
	conn, err := c.pooled.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return pooledConn{conn.(*stdlib.Conn), "; SELECT " + c.set(true)}, nil
}

// settle reports whether a connection is direct, and sets the parameters of its session where it is. Behind a pooler
// the process id that pgx got when it connected is the pooler's own, not that of the server's process.
func (c *connector) settle(ctx context.Context, conn *pgx.Conn) (direct bool, err error) {
	query := fmt.Sprintf("SELECT CASE WHEN pg_backend_pid() = %d THEN length(concat(%s)) ELSE -1 END", conn.PgConn().
		PID(), c.set(false))
	var n int
	err = conn.QueryRow(ctx, query, pgx.QueryExecModeSimpleProtocol).Scan(&n)
	return n >= 0, err
}

// pooledConn is a connection to a pooler.
type pooledConn struct {
	*stdlib.Conn
	set string // what each transaction begins with
}

// BeginTx implements driver.ConnBeginTx. The parameters travel with the BEGIN.
func (c pooledConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	begin := "BEGIN"
	if level := sql.IsolationLevel(opts.Isolation); level != sql.LevelDefault {
		begin += " ISOLATION LEVEL " + level.String()
	}
	if opts.ReadOnly {
		begin += " READ ONLY"
	}
	tx, err := c.Conn.Conn().BeginTx(ctx, pgx.TxOptions{BeginQuery: begin + c.set})
	if err != nil {
		return nil, err
	}
	return pooledTx{ctx, tx}, nil
}

type pooledTx struct {
	ctx context.Context //nolint:containedctx // database/sql ends a transaction without one
	tx  pgx.Tx
}

func (t pooledTx) Commit() error   { return t.tx.Commit(t.ctx) }
func (t pooledTx) Rollback() error { return t.tx.Rollback(t.ctx) }
