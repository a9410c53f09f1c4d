package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/mail"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/email"
	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/database"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/secobserve"
)

// secObserveTime bounds one request to SecObserve: a page of a thousand observations takes it a while.
const secObserveTime = 5 * time.Minute

// connector returns the connector to the SecObserve of the configuration. Where q is nil, the sweep of a scheduler
// finds what it accepts. count, where not nil, is called with what is accepted.
func connector(
	c *config.Config, db *dbmodel.DB, vault *dbmodel.Vault, q *queue.Queue, count func(accept.Accepted),
) *secobserve.Connector {
	client := channel.NewOperatorClient(c.OperatorProxy())
	client.Timeout = secObserveTime
	keeps := func(word string) bool { return slices.Contains(c.SecObserve.Keep, word) }
	s := secobserve.Config{
		DB: db, Vault: vault, Count: count,
		Client: secobserve.NewClient(c.SecObserve.URL, c.SecObserve.Token.Reveal(), client),
		Keep: secobserve.Keep{
			Contacts: keeps("contacts"), Conditions: keeps("conditions"), Members: keeps("members"),
			Settings: keeps("settings"),
		},
		CheckAddress: func(to rule.Channel, address string) error {
			if to.Info().ByAddress {
				return email.CheckAddress(address)
			}
			return channel.CheckWebhookURL(address, c.WebhookAllowedNetworks)
		},
		CheckSender: checkSender,
	}
	if q != nil {
		s.Enqueue = q.Enqueue
	}
	return secobserve.New(s)
}

// checkSender returns why mail cannot come from a sender, with or without a display name.
func checkSender(text string) error {
	sender, err := mail.ParseAddress(text)
	if err != nil {
		return errors.New("is not a valid email address")
	}
	return email.CheckAddress(sender.Address)
}

type secObserveCommand struct {
	Check secObserveCheck `cmd:"" help:"Say what a pass over SecObserve would read and change. It changes nothing."`
	Sync  secObserveSync  `cmd:"" help:"Run one pass over SecObserve, after one that is under way."`
}

type secObserveCheck struct{}

// Help is printed below the usage.
func (secObserveCheck) Help() string {
	return "Prints a line for each check and exits with 1 where one failed. It names the notifications that SecObserve " +
		"sends by itself."
}

// Run prints what a pass would read and change.
func (secObserveCheck) Run(ctx context.Context, t *terminal) error {
	look := func(ctx context.Context, db *dbmodel.DB, c *config.Config) (*dbmodel.Vault, error) {
		vault, _, err := lookIntoVault(ctx, db, c)
		return vault, err
	}
	return withConnector(ctx, t, look, func(c *config.Config, _ *dbmodel.DB, s *secobserve.Connector) error {
		k := &checker{t: t}
		k.say("SecObserve", c.SecObserve.URL, nil)
		plan, err := s.Plan(ctx)
		if err != nil {
			k.say("Connection", "", err)
			return errReported
		}
		k.say("Connection", "the token is accepted; SecObserve is "+strings.TrimPrefix(plan.Version, "version_"), nil)
		if plan.Superuser {
			k.say("Rights", "the user of the token is a superuser", nil)
		} else {
			k.warn("Rights", "the user of the token is no superuser: nothing is deleted here, and neither users, members "+
				"nor settings are read; use the token of a superuser")
		}
		k.say("There", fmt.Sprintf("%d product groups, %d products, %d users, %d observations",
			plan.There.Groups, plan.There.Products, plan.There.Users, plan.Observations), nil)
		k.say("Here", fmt.Sprintf("%d of the observations", plan.Stored), nil)
		if plan.First {
			k.say("Next pass", "the first one: it reads everything as a baseline and notifies nothing", nil)
		} else {
			k.say("Next pass", fmt.Sprintf("it reads the observations of %d products", plan.Read), nil)
		}
		k.say("To be stored",
			fmt.Sprintf("%d product groups, %d products, %d users and %d memberships that are new or differ",
				plan.Groups, plan.Products, plan.Users, plan.Members), nil)
		if len(c.SecObserve.Keep) > 0 {
			k.say("Not taken", strings.Join(c.SecObserve.Keep, ", "), nil)
		}
		for _, r := range plan.Refused {
			k.warn("Refused", fmt.Sprintf("%s %d %q: %s", r.Kind, r.ID, r.Name, r.Reason))
		}
		for _, d := range plan.Doubles {
			k.warn("Sent by SecObserve too", d)
		}
		return nil
	})
}

type secObserveSync struct {
	ConfirmDeletions bool `help:"Delete here what is gone there, also where that is more than a tenth at once."`
}

// Help is printed below the usage.
func (secObserveSync) Help() string {
	return "Shows its progress on a terminal and prints what it did. It exits with 1 where the pass failed."
}

// Run runs one pass.
func (o secObserveSync) Run(ctx context.Context, t *terminal) error {
	open := func(ctx context.Context, db *dbmodel.DB, c *config.Config) (*dbmodel.Vault, error) {
		return dbmodel.OpenVault(ctx, db, c.SecretKey, c.SecretKeyOld)
	}
	return withConnector(ctx, t, open, func(_ *config.Config, db *dbmodel.DB, s *secobserve.Connector) error {
		run, err := beginRun(ctx, db, t.err)
		if err != nil {
			return err
		}
		began := time.Now()
		counts, err := syncWith(ctx, db, s, run, secobserve.Options{
			ConfirmDeletions: o.ConfirmDeletions, Progress: progressOn(t.err, began),
		})
		status, words := dbmodel.RunSucceeded, counts.String()
		if err != nil {
			status, words = dbmodel.RunFailed, words+"; "+err.Error()
		}
		end := context.WithoutCancel(ctx)
		errEnd := db.InTx(end, func(ctx context.Context, tx bun.Tx) error {
			_, err := dbmodel.EndRun(ctx, tx, run, status, words)
			return err
		})
		if err := errors.Join(err, errEnd); err != nil {
			return fmt.Errorf("after %s: %w", counts, err)
		}
		fmt.Fprintf(t.out, "%s, in %s\n", counts, time.Since(began).Round(time.Millisecond))
		return nil
	})
}

// beginRun waits until no other pass is under way.
func beginRun(ctx context.Context, db *dbmodel.DB, w io.Writer) (*dbmodel.PeriodicRun, error) {
	for waited := false; ; waited = true {
		run, err := dbmodel.BeginRun(ctx, db, dbmodel.PeriodicSecObserve)
		if err == nil {
			return run, nil
		}
		if !errors.Is(err, dbmodel.ErrNotFound) {
			return nil, fmt.Errorf("begin the pass: %w", err)
		}
		if !waited {
			fmt.Fprintln(w, "Another pass is under way: waiting for its end.")
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// syncWith runs a pass and renews the claim of its run meanwhile.
func syncWith(
	ctx context.Context, db *dbmodel.DB, s *secobserve.Connector, run *dbmodel.PeriodicRun, o secobserve.Options,
) (secobserve.Counts, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		ticker := time.NewTicker(dbmodel.PeriodicClaimTime / 4)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				_, _ = dbmodel.RenewRun(ctx, db, run) // each transaction of the pass does so, too
			}
		}
	}()
	return s.Sync(ctx, run, o)
}

// progressOn returns a function that shows progress on w; nil where w is not a terminal.
func progressOn(w io.Writer, began time.Time) func(secobserve.Counts) {
	f, ok := w.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		return nil
	}
	return func(c secobserve.Counts) {
		of := ""
		if c.Total > 0 {
			of = fmt.Sprintf(" of %d", c.Total)
		}
		fmt.Fprintf(w, "\r\033[K%d products, %d%s observations, %d requests, %s ", c.Products, c.Observations, of,
			c.Requests,
			time.Since(began).Round(time.Second))
	}
}

// withConnector opens the database, which must exist, and its vault, and runs do with the connector of the
// configuration.
func withConnector(
	ctx context.Context, t *terminal,
	openVault func(context.Context, *dbmodel.DB, *config.Config) (*dbmodel.Vault, error),
	do func(*config.Config, *dbmodel.DB, *secobserve.Connector) error,
) error {
	c, err := config.Load(config.Connector, t.environ)
	if err != nil {
		return err
	}
	newLogger(c, t.err) // sets the logger of go-redis too
	if !database.Exists(c.Database.DSN.Reveal()) {
		return errNoDatabase
	}
	db, err := openDatabase(c, 4)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := dbmodel.CheckSchema(ctx, db); err != nil {
		return err
	}
	err = c.ReadSecretKey()
	if errors.Is(err, fs.ErrNotExist) {
		if err = checkUnsealed(ctx, db, c); err == nil {
			err = errors.New(noKeyYet)
		}
	}
	if err != nil {
		return err
	}
	vault, err := openVault(ctx, db, c)
	if err != nil {
		return fmt.Errorf("open what is sealed in the database: %w", err)
	}
	return do(c, db, connector(c, db, vault, nil, nil))
}
