package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/database"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/tasks"
)

type migrateCommand struct {
	Up     migrateUp     `cmd:"" help:"Bring the schema to this version. Any number of processes may do so at once."`
	Down   migrateDown   `cmd:"" help:"Take back what the last \"up\" did. What its tables hold is lost."`
	Status migrateStatus `cmd:"" help:"List the migrations and whether the database has them."`
}

type (
	migrateUp     struct{}
	migrateDown   struct{}
	migrateStatus struct{}
)

// Run brings the schema to this version.
func (migrateUp) Run(ctx context.Context, t *terminal) error {
	c, err := config.Load(config.Migrate, t.environ)
	if err != nil {
		return err
	}
	return useDatabase(ctx, c, t, func(db *dbmodel.DB) error {
		applied, err := dbmodel.Migrate(ctx, db)
		if err != nil {
			return fmt.Errorf("migrate the database: %w", err)
		}
		tell(t, "applied", applied, "Nothing to do: the database is up to date.")
		return nil
	})
}

// Run takes back the last step.
func (migrateDown) Run(ctx context.Context, t *terminal) error {
	return withDatabase(ctx, t, config.Migrate, func(db *dbmodel.DB) error {
		undone, err := dbmodel.Rollback(ctx, db)
		if err != nil {
			return fmt.Errorf("take back the last migration: %w", err)
		}
		tell(t, "taken back", undone, "Nothing to do: no migration is applied.")
		return nil
	})
}

// Run lists the migrations. It changes nothing.
func (migrateStatus) Run(ctx context.Context, t *terminal) error {
	err := withDatabase(ctx, t, config.Migrate, func(db *dbmodel.DB) error {
		list, err := dbmodel.Migrations(ctx, db)
		for _, m := range list {
			state := "applied"
			if !m.Applied {
				state = "pending"
			}
			fmt.Fprintf(t.out, "%s  %s\n", m.Name, state)
		}
		return err
	})
	if errors.Is(err, errNoDatabase) {
		fmt.Fprintln(t.out, err)
		return nil
	}
	return err
}

func tell(t *terminal, what string, names []string, otherwise string) {
	for _, n := range names {
		fmt.Fprintf(t.out, "%s  %s\n", n, what)
	}
	if len(names) == 0 {
		fmt.Fprintln(t.out, otherwise)
	}
}

// errNoDatabase: a SQLite database that was never used.
var errNoDatabase = errors.New("there is no database yet: \"tocsin serve\" makes it when it first starts, and so does \"tocsin migrate up\"")

// withDatabase runs fn with the database that role is configured for. The error is errNoDatabase where that would have to be
// made.
func withDatabase(ctx context.Context, t *terminal, role config.Role, fn func(*dbmodel.DB) error) error {
	c, err := config.Load(role, t.environ)
	if err != nil {
		return err
	}
	if !database.Exists(c.Database.DSN.Reveal()) {
		return errNoDatabase
	}
	return useDatabase(ctx, c, t, fn)
}

func useDatabase(ctx context.Context, c *config.Config, t *terminal, fn func(*dbmodel.DB) error) (err error) {
	a := &app{config: c, log: newLogger(c, t.err)}
	defer a.close()
	if a.db, err = openDatabase(c, 4); err != nil {
		return err
	}
	if err := a.awaitDatabase(ctx, func() error { return nil }); err != nil {
		return err
	}
	return fn(a.db)
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(t *terminal) error {
	_, err := fmt.Fprintln(t.out, "tocsin", version())
	return err
}

// release is set by the linker: -ldflags "-X main.release=v1.2.3".
var release string

// version is the release, or else what the build knows of its source.
func version() string {
	if release != "" {
		return release
	}
	info, found := debug.ReadBuildInfo()
	if !found {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "development, commit " + s.Value[:min(12, len(s.Value))]
		}
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "development"
}

type checkCommand struct{}

// checkTime bounds each question that check asks.
const checkTime = 15 * time.Second

// Run says in words what works. It asks everything, also after a fault.
func (checkCommand) Run(ctx context.Context, t *terminal) error {
	c, err := config.Load(config.Check, t.environ)
	if err != nil {
		return err
	}
	newLogger(c, t.err) // which is also what go-redis writes to
	k := &checker{t: t}
	k.say("Configuration", "no fault", nil)
	switch err := c.ReadSecretKey(); {
	case errors.Is(err, fs.ErrNotExist):
		k.noKey = true
	case err != nil:
		k.say("Secret key", "", err)
	}
	k.database(ctx, c)
	k.redis(ctx, c)
	k.mail(ctx, c)
	if k.faults > 0 {
		fmt.Fprintf(t.out, "%d of the checks above failed.\n", k.faults)
		return errTold
	}
	return nil
}

type checker struct {
	t      *terminal
	faults int
	noKey  bool // there is no secret key, neither given nor generated
}

func (k *checker) say(what, words string, err error) {
	mark := "ok   "
	if err != nil {
		mark, words = "FAIL ", err.Error()
		k.faults++
	}
	fmt.Fprintf(k.t.out, "%s %s: %s\n", mark, what, words)
}

func (k *checker) database(ctx context.Context, c *config.Config) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	what := "Database (" + string(c.Database.Driver) + ")"
	if !database.Exists(c.Database.DSN.Reveal()) {
		k.say(what, errNoDatabase.Error(), nil)
		return
	}
	db, err := openDatabase(c, 2)
	if err != nil {
		k.say(what, "", err)
		return
	}
	defer db.Close()
	if err := dbmodel.CheckSchema(ctx, db); err != nil {
		k.say(what, "", err)
		return
	}
	k.say(what, "answers, its schema is this version's", nil)
	if k.noKey {
		k.noSecretKey(ctx, c, db)
	}
	if c.SecretKey == nil {
		return
	}
	vault, words, err := lookIntoVault(ctx, db, c)
	if err != nil {
		k.say("Secret key", "", err)
		return
	}
	k.say("Secret key", words, nil)
	settings, err := dbmodel.LoadSettings(ctx, db)
	if err == nil && settings.EmailFrom == "" {
		k.say("Email", "the setting email_from is empty: without it no email is sent", nil)
	}
	k.webhooks(ctx, c, db, vault)
}

// noSecretKey says whether a key is missing or none was ever needed.
func (k *checker) noSecretKey(ctx context.Context, c *config.Config, db *dbmodel.DB) {
	sealed, err := dbmodel.IsSealed(ctx, db)
	if err == nil && sealed {
		err = errKeyMissing(c)
	}
	k.say("Secret key", "none yet: \"tocsin serve\" makes one when it first starts; web, worker and scheduler need TOCSIN_SECRET_KEY", err)
}

// errNothingChanged ends a transaction that must leave no trace.
var errNothingChanged = errors.New("nothing is changed")

// lookIntoVault opens the vault as web, worker and scheduler do, but leaves it as it is: what these have not sealed with the
// new key yet still opens with the old one afterwards.
func lookIntoVault(ctx context.Context, db *dbmodel.DB, c *config.Config) (vault *dbmodel.Vault, words string, err error) {
	open := func(oldKey []byte) error {
		err := db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
			if vault, err = dbmodel.OpenVault(ctx, tx, c.SecretKey, oldKey); err == nil {
				err = errNothingChanged
			}
			return err
		})
		if errors.Is(err, errNothingChanged) {
			return nil
		}
		return err
	}
	switch err := open(nil); {
	case c.SecretKeyOld == nil:
		return vault, "opens what the database holds", err
	case err == nil:
		return vault, "opens what the database holds; TOCSIN_SECRET_KEY_OLD is not needed any more: unset it", nil
	case !errors.Is(err, dbmodel.ErrSealed):
		return nil, "", err
	}
	err = open(c.SecretKeyOld)
	return vault, "TOCSIN_SECRET_KEY_OLD opens what the database holds: start web, worker and scheduler with both keys, then it is not needed any more", err
}

// webhooks asks each webhook that is set for anything but a delivery: any answer shows that it can be reached.
func (k *checker) webhooks(ctx context.Context, c *config.Config, db *dbmodel.DB, vault *dbmodel.Vault) {
	targets, err := dbmodel.ConfiguredWebhooks(ctx, db)
	if err != nil {
		k.say("Webhooks", "", err)
		return
	}
	client := channel.NewHTTPClient(c.WebhookAllowedNetworks)
	defer client.CloseIdleConnections()
	for _, target := range targets {
		places := inWords(target.Places)
		what := fmt.Sprintf("Webhook %d (%s) of %s", target.ID, target.Channel, places)
		address, err := vault.OpenAddress(target.Channel, target.Address)
		if err != nil {
			k.say(what, "", errors.New("its address cannot be read, because the key that sealed it is lost: set it anew"))
			continue
		}
		what = fmt.Sprintf("Webhook %s (%s) of %s", channel.RedactURL(address), target.Channel, places)
		request, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
		if err != nil {
			k.say(what, "", errors.New("it is not a valid URL: set it anew"))
			continue
		}
		response, err := client.Do(request)
		if err != nil {
			k.say(what, "", channel.NetworkError("the webhook", err))
			continue
		}
		_ = response.Body.Close()
		k.say(what, "can be reached", nil)
	}
}

// inWords says where a webhook is set: the first places, and how many there are besides.
func inWords(places []dbmodel.WebhookPlace) string {
	const most = 3
	var words []string
	for _, p := range places[:min(most, len(places))] {
		if p.ID == 0 {
			words = append(words, "the settings for "+p.Kind)
		} else {
			words = append(words, fmt.Sprintf("%s %d %q", p.Kind, p.ID, p.Name))
		}
	}
	if more := len(places) - most; more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return strings.Join(words, ", ")
}

func (k *checker) redis(ctx context.Context, c *config.Config) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	if c.Redis == nil {
		k.say("Redis", "none is configured: \"tocsin serve\" brings its own", nil)
		return
	}
	client := newRedis(c.Redis)
	defer client.Close()
	paused, err := tasks.NewQueue(client, zerolog.Nop()).Paused(ctx)
	if err != nil {
		k.say("Redis", "", fmt.Errorf("does not answer: check REDIS_URL, and that it runs: %w", err))
		return
	}
	policies, err := evictionPolicies(ctx, client)
	for _, p := range policies {
		if p != noEviction {
			k.say("Redis", "", fmt.Errorf("maxmemory-policy is %s: set it to %s, or Redis drops tasks when it is full", p, noEviction))
			return
		}
	}
	words := "answers"
	if err != nil {
		words += "; it does not say its maxmemory-policy, which must be " + noEviction
	}
	k.say("Redis", words, nil)
	for _, queue := range paused {
		k.say("Queue "+queue, "", fmt.Errorf("somebody has paused it, and nothing of it is worked off: resume it in /monitor/, with TOCSIN_MONITOR_WRITE=true, or with: redis-cli del '%s'", tasks.PausedKey(queue)))
	}
}

const noEviction = "noeviction"

// evictionPolicies returns what each server does when its memory is full.
func evictionPolicies(ctx context.Context, client redis.UniversalClient) ([]string, error) {
	var mu sync.Mutex
	var list []string
	ask := func(ctx context.Context, client *redis.Client) error {
		answer, err := client.ConfigGet(ctx, "maxmemory-policy").Result()
		mu.Lock()
		defer mu.Unlock()
		if p, found := answer["maxmemory-policy"]; found {
			list = append(list, p)
		}
		return err
	}
	var err error
	switch client := client.(type) {
	case *redis.ClusterClient:
		err = client.ForEachShard(ctx, ask) // a replica may be a master tomorrow
	case *redis.Client:
		err = ask(ctx, client)
	}
	if err != nil {
		return list, fmt.Errorf("ask Redis for its maxmemory-policy: %w", err)
	}
	return list, nil
}

func (k *checker) mail(ctx context.Context, c *config.Config) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	sender, err := mailSender(c)
	switch {
	case err != nil:
		k.say("Mail", "", err)
	case sender == nil:
		k.say("Mail", "not configured: set MAILGUN_DOMAIN and MAILGUN_API_KEY, or SMTP_URL, to send email", nil)
	default:
		if err := sender.Ping(ctx); err != nil {
			k.say("Mail", "", err)
			return
		}
		k.say("Mail", "the server takes our login; "+strings.ToLower(string(rule.Email))+" can be sent", nil)
	}
}
