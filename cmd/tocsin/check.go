package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/database"
	"github.com/seed91453169/tocsin/rule"
)

type checkCommand struct{}

// Help is printed below the usage.
func (checkCommand) Help() string {
	return "Prints a line for each check and exits with 1 where one failed. It changes nothing and sends no message."
}

// checkTime bounds what is asked of the database, of Redis, of the mail server and of each webhook.
const checkTime = 15 * time.Second

// Run prints the result of each check in words. A fault does not end the run.
func (checkCommand) Run(ctx context.Context, t *terminal) error {
	c, err := config.Load(config.Check, t.environ)
	if err != nil {
		return err
	}
	newLogger(c, t.err) // sets the logger of go-redis too
	k := &checker{t: t, keyGiven: c.SecretKey != nil}
	k.say("Configuration", "no fault", nil)
	switch err := c.ReadSecretKey(); {
	case errors.Is(err, fs.ErrNotExist):
		k.noKey = true
	case err != nil:
		k.say("Secret key", "", err)
	}
	if warning := c.BaseURLWarning(); warning != "" {
		k.warn("Base URL", warning)
	}
	k.ways(c)
	k.database(ctx, c)
	k.redis(ctx, c)
	k.mail(ctx, c)
	if k.faults > 0 {
		fmt.Fprintf(t.out, "%d of the checks above failed.\n", k.faults)
		return errReported
	}
	return nil
}

type checker struct {
	t        *terminal
	faults   int
	keyGiven bool   // the environment holds a secret key
	noKey    bool   // neither the environment nor the data folder holds a secret key
	from     string // the setting email_from; empty where it is empty or cannot be read
	mailed   bool   // email contacts exist
}

// warn prints what works but probably not as intended. It does not change the exit code.
func (k *checker) warn(what, words string) { fmt.Fprintf(k.t.out, "warn  %s: %s\n", what, words) }

// say prints a result: words, or the fault err.
func (k *checker) say(what, words string, err error) {
	mark := "ok   "
	if err != nil {
		mark, words = "FAIL ", err.Error()
		k.faults++
	}
	fmt.Fprintf(k.t.out, "%s %s: %s\n", mark, what, words)
}

// ways prints for each kind of outgoing connection whether it goes through a proxy.
func (k *checker) ways(c *config.Config) {
	k.say("Way of webhooks", c.WebhookProxy().Way(&url.URL{Scheme: "https", Host: "webhook.invalid"}), nil)
	way := func(what, address string) {
		if u, err := url.Parse(address); err == nil {
			k.say("Way to "+what, c.OperatorProxy().Way(u), nil)
		}
	}
	switch {
	case c.Mailgun != nil:
		way("Mailgun", cmp.Or(c.Mailgun.APIBase, "https://api.mailgun.net"))
	case c.SMTP != nil:
		k.say("Way to the mail server", "directly", nil)
	}
	if c.OIDC != nil {
		way("the OpenID Connect provider", c.OIDC.Issuer)
	}
}

func (k *checker) database(whole context.Context, c *config.Config) {
	ctx, cancel := context.WithTimeout(whole, checkTime)
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
	k.processes(ctx, db)
	if k.noKey {
		k.say("Secret key", noKeyYet, checkUnsealed(ctx, db, c))
	}
	if c.SecretKey == nil {
		return
	}
	vault, words, err := lookIntoVault(ctx, db, c)
	if err != nil {
		if errors.Is(err, dbmodel.ErrSealed) && !k.keyGiven {
			err = fmt.Errorf("TOCSIN_SECRET_KEY is not set, and the key in %s does not open what the database holds: "+
				"set the key of this database, or TOCSIN_DATA_DIR to the folder that has it", c.SecretKeyFile())
		}
		k.say("Secret key", "", err)
		return
	}
	k.say("Secret key", words, nil)
	k.emailFrom(ctx, db)
	targets, err := dbmodel.ConfiguredWebhooks(ctx, db)
	if err != nil {
		k.say("Webhooks", "", err)
		return
	}
	k.webhooks(whole, c, targets, vault)
}

// emailFrom reports an empty sender address, which matters only where email contacts exist.
func (k *checker) emailFrom(ctx context.Context, db *dbmodel.DB) {
	settings, err := dbmodel.LoadSettings(ctx, db)
	if err != nil {
		k.say("Email", "", err)
		return
	}
	k.from = settings.EmailFrom
	if k.mailed, err = dbmodel.HasEmailContacts(ctx, db); err != nil {
		k.say("Email", "", err)
		return
	}
	if k.from != "" {
		return
	}
	anyone := rule.Applied{Contacts: rule.Contacts{rule.Email: {{Channel: rule.Email, Target: 1}}}}
	for _, r := range rule.Recipients(anyone, nil, rule.Ability{EmailFrom: settings.EmailFrom}) {
		if k.mailed {
			k.warn("Email", string(r.Reason)+", and there are email contacts")
		} else {
			k.say("Email", string(r.Reason), nil)
		}
	}
}

// noKeyYet is the state of a database that is not sealed where no secret key is found.
const noKeyYet = "no secret key yet: the first start of \"tocsin serve\" generates one; " +
	"web, worker and scheduler need TOCSIN_SECRET_KEY"

// errNothingChanged rolls back a transaction that succeeded.
var errNothingChanged = errors.New("nothing is changed")

// lookIntoVault opens the vault as web, worker and scheduler do, but changes nothing in it: what the old key sealed
// stays sealed with it.
func lookIntoVault(
	ctx context.Context, db *dbmodel.DB, c *config.Config,
) (vault *dbmodel.Vault, words string, err error) {
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
	return vault, "TOCSIN_SECRET_KEY_OLD opens what the database holds: start web, worker and scheduler with both keys, " +
		"then the old one is not needed any more", err
}

func (k *checker) mail(ctx context.Context, c *config.Config) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	sender, err := mailSender(c)
	switch {
	case err != nil:
		k.say("Mail", "", err)
	case sender == nil && k.mailed:
		k.warn("Mail", string(rule.Email.Info().NotConfigured)+"; there are email contacts")
	case sender == nil:
		k.say("Mail", string(rule.Email.Info().NotConfigured), nil)
	default:
		if err := sender.Ping(ctx, k.from); err != nil {
			k.say("Mail", "", err)
			return
		}
		k.say("Mail", "the server accepts the login; email can be sent", nil)
	}
}
