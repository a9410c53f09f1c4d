package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/database"
	"github.com/seed91453169/tocsin/internal/embedded"
	"github.com/seed91453169/tocsin/internal/metrics"
	"github.com/seed91453169/tocsin/internal/queue"
)

// patience is how long a process waits for the database when it starts.
const patience = time.Minute

// app holds what the roles of one process share.
type app struct {
	config *config.Config
	log    zerolog.Logger
	db     *dbmodel.DB
	pools  []func() error // close further pools of connections to db
	vault  *dbmodel.Vault
	queue  *queue.Queue
	alive  *liveness
	// registry has the metrics of all roles of the process.
	registry *prometheus.Registry
	traces   *sdktrace.TracerProvider // nil: nothing is traced

	redis    *redis.UniversalOptions
	clients  []redis.UniversalClient
	embedded *embedded.Redis
}

// newApp opens database and Redis, and applies missing migrations where migrate is set. conns is the size of the pool
// of database connections. The caller closes the app.
func newApp(ctx context.Context, c *config.Config, t *terminal, conns int, migrate bool) (*app, error) {
	a := &app{config: c, log: newLogger(c, t.err), redis: c.Redis, registry: metrics.NewRegistry()}
	settings := zerolog.Dict()
	for _, one := range c.Changed() {
		settings.Str(one.Name, one.Value)
	}
	a.log.Info().Str("role", string(c.Role)).Str("version", version()).Dict("settings", settings).Msg("starting")
	var err error
	if a.traces, err = startTracing(ctx, c, a.log); err == nil {
		err = a.open(ctx, conns, migrate)
	}
	if err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *app) open(ctx context.Context, conns int, migrate bool) error {
	var err error
	if a.db, err = openDatabase(a.config, conns); err != nil {
		return err
	}
	if err := a.awaitDatabase(ctx, func() error { return a.prepare(ctx, migrate) }); err != nil {
		return err
	}
	if a.redis == nil {
		a.embedded = embedded.Start()
		a.redis = a.embedded.Options()
	}
	client := newRedis(a.redis)
	a.clients = append(a.clients, client)
	a.queue = queue.New(client, a.log)
	go a.checkPolicy(ctx)
	return nil
}

// checkPolicy logs where Redis may drop tasks. It asks only once: /readyz and the metrics show a Redis that does not
// answer at the start.
func (a *app) checkPolicy(ctx context.Context) {
	if wrong, _ := a.queue.WrongPolicy(ctx); wrong != "" {
		a.log.Error().Msg("Redis: " + queue.PolicyFault(wrong))
	}
}

// prepare checks the schema, migrates it first where migrate is set, opens the vault and records that the process runs.
func (a *app) prepare(ctx context.Context, migrate bool) error {
	if migrate {
		applied, err := dbmodel.Migrate(ctx, a.db)
		if err != nil {
			return fmt.Errorf("migrate the database: %w", err)
		}
		if len(applied) > 0 {
			a.log.Info().Strs("migrations", applied).Msg("the database schema is up to date")
		}
	}
	err := dbmodel.CheckSchema(ctx, a.db)
	if err != nil {
		return err
	}
	if err := a.ensureSecretKey(ctx); err != nil {
		return err
	}
	if a.vault, err = dbmodel.OpenVault(ctx, a.db, a.config.SecretKey, a.config.SecretKeyOld); err != nil {
		return fmt.Errorf("open what is sealed in the database: %w", err)
	}
	a.alive, err = startLiveness(ctx, a.db, a.config.Role, a.log)
	return err
}

// ensureSecretKey reads the secret key and generates one where there is none. It generates none for a database that is
// already sealed: the new key would open nothing, and its file would look like the right one.
func (a *app) ensureSecretKey(ctx context.Context) error {
	err := a.config.ReadSecretKey()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := checkUnsealed(ctx, a.db, a.config); err != nil {
		return err
	}
	return a.config.EnsureSecretKey()
}

// checkUnsealed returns an error where a key has sealed the database: that key is missing.
func checkUnsealed(ctx context.Context, db *dbmodel.DB, c *config.Config) error {
	sealed, err := dbmodel.IsSealed(ctx, db)
	if err != nil || !sealed {
		return err
	}
	return fmt.Errorf("the secret key is missing: TOCSIN_SECRET_KEY is not set, there is no key in %s, "+
		"and the database was sealed with one: set it, or put secret.key back; "+
		"docs/keys.md says what to do where it is lost", c.DataDir)
}

// openDatabase opens the configured database. It does not wait for an answer: the first query does.
func openDatabase(c *config.Config, conns int) (*dbmodel.DB, error) {
	return database.Open(c.Database.DSN.Reveal(), conns)
}

// share opens another pool of connections to the database.
func (a *app) share(conns int) (*dbmodel.DB, error) {
	db, closePool, err := database.OpenAnother(a.db, a.config.Database.DSN.Reveal(), conns)
	if err == nil {
		a.pools = append(a.pools, closePool)
	}
	return db, err
}

// awaitDatabase waits until the database answers, and then runs use. It starts over where the database vanishes while
// use runs: after a restart of the machine, the database may start later than this process, and restart once more.
func (a *app) awaitDatabase(ctx context.Context, use func() error) error {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for logged := false; ; logged = true {
		err := a.db.Ping(patient)
		switch {
		case err == nil:
			err = use()
		case !errors.Is(err, dbmodel.ErrUnavailable): // the server answers with an error that waiting does not mend
			err = fmt.Errorf("use the database: check DATABASE_URL: %w", err)
		}
		if !errors.Is(err, dbmodel.ErrUnavailable) {
			return err
		}
		if !logged {
			a.log.Warn().Err(err).Msgf("the database does not answer: waiting for it up to %s", patience)
		}
		select {
		case <-patient.Done():
			return fmt.Errorf("the database does not answer: check DATABASE_URL, and that it runs: %w", err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// close exports the last spans, then closes what is open, in the reverse order.
func (a *app) close() {
	a.endTracing()
	for _, c := range a.clients {
		if err := c.Close(); err != nil {
			a.log.Warn().Err(err).Msg("close Redis")
		}
	}
	if a.embedded != nil {
		a.embedded.Close()
	}
	if a.alive != nil {
		a.alive.end()
	}
	for _, closePool := range a.pools {
		if err := closePool(); err != nil {
			a.log.Warn().Err(err).Msg("close the database")
		}
	}
	if a.db != nil {
		if err := a.db.Close(); err != nil {
			a.log.Warn().Err(err).Msg("close the database")
		}
	}
}
