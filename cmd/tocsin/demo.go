package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strconv"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/demo"
)

type demoCommand struct{}

// demoAdministrator is the name of the administrator of the demo.
const demoAdministrator = "demo"

// Help is printed below the usage.
func (demoCommand) Help() string {
	return "A local receiver shows what email, Teams and Slack would get."
}

// Run serves on a temporary folder, with sample events and a receiver that shows the messages.
func (demoCommand) Run(ctx context.Context, t *terminal) error {
	c, err := config.Load(config.Demo, t.environ)
	if err != nil {
		return err
	}
	if c.LogLevel == zerolog.InfoLevel {
		c.LogLevel = zerolog.WarnLevel // a line for each request would hide what is printed below
	}
	folder, err := os.MkdirTemp("", "tocsin-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer os.RemoveAll(folder)
	c.SetDataDir(folder)
	if c.AdminToken.Reveal() == "" {
		c.AdminToken = config.Secret(rand.Text())
	}
	receiver, err := demo.NewReceiver(newLogger(c, t.err))
	if err != nil {
		return err
	}
	defer receiver.Close()
	if c.SMTP, err = localSMTP(receiver.SMTPURL()); err != nil {
		return err
	}
	c.WebhookAllowedNetworks = append(c.WebhookAllowedNetworks, netip.MustParsePrefix("127.0.0.0/8"))
	return serve(ctx, c, t, "", func(ctx context.Context, a *app) {
		password := rand.Text()[:12] // 60 bits, for a database that is deleted at the end
		u := dbmodel.User{
			Username: demoAdministrator, FullName: "Demo Administrator", Email: "demo@demo.example", IsAdmin: true,
		}
		if err := addUser(ctx, a.db, u, password); err != nil {
			a.log.Error().Err(err).Msg("add the administrator of the demo")
		}
		token := c.AdminToken.Reveal()
		fmt.Fprintf(t.out, welcome, c.BaseURL, demoAdministrator, password, receiver.URL(), token)
		err := demo.Seed(ctx, demo.Target{APIBase: c.BaseURL, Token: token, Receiver: receiver})
		if err != nil && ctx.Err() == nil {
			a.log.Error().Err(err).Msg("report the sample events")
		}
	})
}

// welcome takes the base URL, the administrator's name and password, the URL of the receiver and the API token.
const welcome = `
Tocsin runs with sample events until you press Ctrl+C. It keeps nothing.

  The inbox:                        %s
  Log in as:                        %s
  with the password:                %s

  What email, Teams and Slack got:  %s
  The HTTP interface:               %[1]s/api/openapi.json
  Call it with:                     Authorization: Bearer %[5]s

  curl -H "Authorization: Bearer %[5]s" %[1]s/api/v1/notifications

`

// localSMTP returns the configuration for the mail server of this process at the URL raw.
func localSMTP(raw string) (*config.SMTP, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("use the demo's mail server: %w", err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return nil, fmt.Errorf("use the demo's mail server: %w", err)
	}
	return &config.SMTP{Host: u.Hostname(), Port: port, TLS: config.TLSNone}, nil
}
