package testenv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Migrate brings an empty database to the schema that a test expects, and closes its connections.
type Migrate = func(ctx context.Context, url string) error

// PostgresURL gives the test a database of its own, dropped at its end. It is a copy of a template on which migrate,
// a plain function and no closure, was run once in this process; nil: the database is empty.
func PostgresURL(t testing.TB, migrate Migrate) string {
	t.Helper()
	address, drop, err := shared.newDatabase(migrate)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := drop(); err != nil {
			t.Logf("drop the database of the test: %v", err)
		}
	})
	return address
}

// cluster is the PostgreSQL that the tests of one process share.
type cluster struct {
	mu        sync.Mutex
	server    *server // nil: not started by us
	address   string  // of its database postgres; empty: not known yet
	version   int     // 150018
	prefix    string  // of the databases of this process
	databases int
	templates map[uintptr]template
}

type template struct {
	name string
	err  error
}

var shared cluster

const databaseTimeout = 2 * time.Minute

// open finds or starts the server. Its caller holds mu.
func (c *cluster) open(ctx context.Context) error {
	if c.address != "" {
		return nil
	}
	address := os.Getenv("TEST_DATABASE_URL")
	if address == "" {
		server, started, err := startPostgres()
		if err != nil {
			return err
		}
		c.server, address = server, started
	}
	err := connect(ctx, address, func(conn *pgx.Conn) error {
		var err error
		c.version, err = strconv.Atoi(conn.PgConn().ParameterStatus("server_version_num"))
		if err != nil { // not among what the server reports by itself
			return conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&c.version)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("the PostgreSQL of TEST_DATABASE_URL does not answer: %w", err)
	}
	c.address = address
	c.prefix = "tocsin_" + strings.ToLower(rand.Text()[:10]) + "_"
	c.templates = make(map[uintptr]template)
	return nil
}

// newDatabase returns the URL of a new database and what drops it.
func (c *cluster) newDatabase(migrate Migrate) (address string, drop func() error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), databaseTimeout)
	defer cancel()

	c.mu.Lock()
	err = c.open(ctx)
	var from template
	if err == nil {
		from = c.template(ctx, migrate)
		err = from.err
	}
	name := c.nextName()
	c.mu.Unlock()
	if err != nil {
		return "", nil, err
	}
	if err := c.create(ctx, name, from.name); err != nil {
		return "", nil, err
	}
	return withDatabase(c.address, name), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), databaseTimeout)
		defer cancel()
		return c.drop(ctx, name)
	}, nil
}

// template returns the template that migrate makes. Its caller holds mu.
func (c *cluster) template(ctx context.Context, migrate Migrate) template {
	if migrate == nil {
		return template{name: "template0"}
	}
	key := reflect.ValueOf(migrate).Pointer()
	if t, ok := c.templates[key]; ok {
		return t
	}
	t := template{name: c.nextName()}
	t.err = c.create(ctx, t.name, "template0")
	if t.err == nil {
		if err := migrate(ctx, withDatabase(c.address, t.name)); err != nil {
			t.err = fmt.Errorf("migrate the template database of the tests: %w", err)
		}
	}
	c.templates[key] = t
	return t
}

func (c *cluster) nextName() string {
	c.databases++
	return c.prefix + strconv.Itoa(c.databases)
}

// create copies files instead of writing each page to the log, which takes half the time.
func (c *cluster) create(ctx context.Context, name, from string) error {
	statement := "CREATE DATABASE " + name + " TEMPLATE " + from
	if c.version >= 150000 { // before, there was no other way, and no word for it
		statement += " STRATEGY FILE_COPY"
	}
	return c.exec(ctx, statement)
}

func (c *cluster) drop(ctx context.Context, name string) error {
	return c.exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
}

func (c *cluster) exec(ctx context.Context, statement string) error {
	return connect(ctx, c.address, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, statement)
		return err
	})
}

// close drops the templates, and stops the server if it is ours.
func (c *cluster) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		err := c.server.close()
		c.server, c.address = nil, ""
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), databaseTimeout)
	defer cancel()
	var err error
	for _, t := range c.templates {
		err = errors.Join(err, c.drop(ctx, t.name))
	}
	clear(c.templates)
	return err
}

// withDatabase puts another database into a URL.
func withDatabase(address, name string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err) // pgx has taken it
	}
	u.Path = "/" + name
	return u.String()
}
