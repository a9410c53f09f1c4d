package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/email"
	"github.com/seed91453169/tocsin/channel/msteams"
	"github.com/seed91453169/tocsin/channel/slack"
	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/database"
	"github.com/seed91453169/tocsin/internal/embedded"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/worker"
)

// patience is how long a process waits for the database when it starts.
const patience = time.Minute

// app is what the roles have in common.
type app struct {
	config *config.Config
	log    zerolog.Logger
	db     *dbmodel.DB
	vault  *dbmodel.Vault
	queue  *queue.Queue
	alive  *liveness

	redis    *redis.UniversalOptions
	clients  []redis.UniversalClient
	embedded *embedded.Redis
}

// newApp opens database and Redis. conns is the size of the pool of database connections.
func newApp(ctx context.Context, c *config.Config, t *terminal, conns int, migrate bool) (*app, error) {
	a := &app{config: c, log: newLogger(c, t.err), redis: c.Redis}
	if err := a.open(ctx, conns, migrate); err != nil {
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
	return nil
}

// prepare makes sure that the database is as this program needs it, opens what is sealed in it, and records that the process runs.
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

// ensureSecretKey generates a key where none is given, but none for a database that was sealed with another one: a file with
// a key that opens nothing would only be taken for the right one.
func (a *app) ensureSecretKey(ctx context.Context) error {
	err := a.config.ReadSecretKey()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	sealed, err := dbmodel.IsSealed(ctx, a.db)
	if err != nil {
		return err
	}
	if sealed {
		return errKeyMissing(a.config)
	}
	return a.config.EnsureSecretKey()
}

func errKeyMissing(c *config.Config) error {
	return fmt.Errorf("the secret key is missing: TOCSIN_SECRET_KEY is not set, there is no key in %s, and the database was sealed with one: set it, or put secret.key back; docs/operations.md says what to do where it is lost", c.DataDir)
}

// openDatabase opens the configured database without asking whether it answers.
func openDatabase(c *config.Config, conns int) (*dbmodel.DB, error) {
	return database.Open(c.Database.DSN.Reveal(), conns)
}

// awaitDatabase waits until the database answers, and goes on answering until use is done with it: after a restart of the
// machine it may come later than we do, and go again.
func (a *app) awaitDatabase(ctx context.Context, use func() error) error {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for logged := false; ; logged = true {
		err := a.db.Ping(patient)
		switch {
		case err == nil:
			err = use()
		case !errors.Is(err, dbmodel.ErrUnavailable): // it answers, and waiting mends nothing
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

// clusterReload is how often a client asks a Redis Cluster who has which keys. go-redis does so each minute by itself, and goes
// on calling a dead server until then.
const clusterReload = 2 * time.Second

// newRedis returns a client whose calls end with their context: an unreachable Redis must not hold anybody.
func newRedis(o *redis.UniversalOptions) redis.UniversalClient {
	c := *o
	c.ContextTimeoutEnabled = true
	c.DialTimeout = 2 * time.Second
	c.ReadTimeout = 3 * time.Second
	c.WriteTimeout = 3 * time.Second
	c.MaxRetries = 1
	if !c.IsClusterMode {
		return redis.NewUniversalClient(&c)
	}
	cluster := c.Cluster()
	cluster.ClusterStateReloadInterval = clusterReload
	return redis.NewClusterClient(cluster)
}

func (a *app) close() {
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
	if a.db != nil {
		if err := a.db.Close(); err != nil {
			a.log.Warn().Err(err).Msg("close the database")
		}
	}
}

// webhookClient is guarded, but behind a proxy for webhooks, which does the guarding itself.
func webhookClient(c *config.Config) *http.Client {
	if proxy := c.WebhookProxy(); proxy != nil {
		return channel.NewOperatorClient(proxy)
	}
	return channel.NewHTTPClient(c.WebhookAllowedNetworks)
}

// senders returns the channels that can be used.
func senders(c *config.Config) (map[rule.Channel]channel.Sender, error) {
	webhooks := webhookClient(c)
	out := map[rule.Channel]channel.Sender{rule.Slack: slack.New(webhooks), rule.MSTeams: msteams.New(webhooks)}
	mail, err := mailSender(c)
	if err != nil {
		return nil, err
	}
	if mail != nil {
		out[rule.Email] = mail
	}
	return out, nil
}

// pinger is a way to send mail that can say whether it works, for mail of the address from where that is not empty.
type pinger interface {
	channel.Sender
	Ping(ctx context.Context, from string) error
}

// mailSender returns nil where neither Mailgun nor SMTP is configured.
func mailSender(c *config.Config) (pinger, error) {
	switch {
	case c.Mailgun != nil:
		return email.NewMailgun(c.Mailgun.Domain, channel.Secret(c.Mailgun.APIKey), c.Mailgun.APIBase, channel.NewOperatorClient(c.OperatorProxy())), nil
	case c.SMTP != nil:
		s, err := email.NewSMTP(email.SMTPConfig{
			Host: c.SMTP.Host, Port: c.SMTP.Port, User: c.SMTP.User, Password: channel.Secret(c.SMTP.Password), TLS: string(c.SMTP.TLS),
			Helo: c.SMTP.Helo,
		})
		if err != nil {
			return nil, fmt.Errorf("use SMTP_URL: %w", err)
		}
		return s, nil
	}
	return nil, nil //nolint:nilnil // no mail is no fault
}

// startWorker starts the worker of this process.
func (a *app) startWorker() (*worker.Worker, error) {
	all, err := senders(a.config)
	if err != nil {
		return nil, err
	}
	w := worker.New(worker.Config{
		DB: a.db, Vault: a.vault, Queue: a.queue, Senders: all, BaseURL: a.config.BaseURL, Log: a.log,
		NewRedis:    func() redis.UniversalClient { return newRedis(a.redis) },
		Rates:       map[rule.Channel]float64{rule.Slack: a.config.SlackRate, rule.MSTeams: a.config.TeamsRate, rule.Email: a.config.EmailRate},
		Concurrency: a.config.WorkerConcurrency, ShutdownTimeout: a.config.ShutdownTimeout,
	})
	return w, w.Start()
}
