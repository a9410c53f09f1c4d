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
	"github.com/seed91453169/tocsin/internal/demo"
)

type demoCommand struct{}

// Run serves on a throw-away folder, with sample events and a receiver that shows what was sent.
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
	if err := c.EnsureSecretKey(); err != nil {
		return err
	}
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
	return serve(ctx, c, t, func(ctx context.Context, a *app) {
		fmt.Fprintf(t.out, `
Tocsin runs with sample events until you press Ctrl+C; nothing of it is kept.

  What email, Teams and Slack got:  %s
  The HTTP interface:               %s/api/openapi.json
  Log in with:                      Authorization: Bearer %s

  curl -H "Authorization: Bearer %[3]s" %[2]s/api/v1/notifications

`, receiver.URL(), c.BaseURL, c.AdminToken.Reveal())
		if err := demo.Seed(ctx, demo.Target{APIBase: c.BaseURL, Token: c.AdminToken.Reveal(), Receiver: receiver}); err != nil && ctx.Err() == nil {
			a.log.Error().Err(err).Msg("feed the sample events")
		}
	})
}

// localSMTP is the configuration for a mail server of our own process.
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
