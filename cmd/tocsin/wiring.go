package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/email"
	"github.com/seed91453169/tocsin/channel/msteams"
	"github.com/seed91453169/tocsin/channel/slack"
	"github.com/seed91453169/tocsin/channel/webhook"
	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/metrics"
	"github.com/seed91453169/tocsin/internal/tracing"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/scheduler"
	"github.com/seed91453169/tocsin/secobserve"
	"github.com/seed91453169/tocsin/web"
	"github.com/seed91453169/tocsin/web/login"
	"github.com/seed91453169/tocsin/worker"
)

// This file turns the configuration into the parts of the program, except for the connector of secobserve.go.

// clusterReload is how often a client asks a Redis Cluster which server has which keys. By default go-redis asks once a
// minute and calls a dead server until then.
const clusterReload = 2 * time.Second

// newRedis returns a client whose calls end with their context, so that no caller waits for an unreachable Redis. Its
// limits are below those of go-redis, for the database keeps what Redis does not take; those of REDIS_URL come first.
func newRedis(o *redis.UniversalOptions) redis.UniversalClient {
	c := *o
	c.ContextTimeoutEnabled = true
	c.DialTimeout = cmp.Or(c.DialTimeout, 2*time.Second)
	c.ReadTimeout = cmp.Or(c.ReadTimeout, 3*time.Second)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 3*time.Second)
	c.MaxRetries = cmp.Or(c.MaxRetries, 1)
	if !c.IsClusterMode {
		return redis.NewUniversalClient(&c)
	}
	cluster := c.Cluster()
	cluster.ClusterStateReloadInterval = clusterReload
	return redis.NewClusterClient(cluster)
}

// webhookClient returns the HTTP client for webhooks. It refuses addresses that webhooks may not reach; where a proxy
// for webhooks is configured, that proxy decides instead.
func webhookClient(c *config.Config) *http.Client {
	if proxy := c.WebhookProxy(); proxy != nil {
		return channel.NewOperatorClient(proxy)
	}
	return channel.NewHTTPClient(c.WebhookAllowedNetworks)
}

// senders returns the sender of each channel that is configured.
func senders(c *config.Config) (map[rule.Channel]channel.Sender, error) {
	webhooks := webhookClient(c)
	out := map[rule.Channel]channel.Sender{
		rule.Slack: slack.New(webhooks), rule.MSTeams: msteams.New(webhooks), rule.Webhook: webhook.New(webhooks),
	}
	mail, err := mailSender(c)
	if err != nil {
		return nil, err
	}
	if mail != nil {
		out[rule.Email] = mail
	}
	return out, nil
}

// pinger is a sender of mail that can be checked without sending: Ping reports why mail from an address would fail. An
// empty address checks the connection and the login alone.
type pinger interface {
	channel.Sender
	Ping(ctx context.Context, from string) error
}

// mailSender returns nil where neither Mailgun nor SMTP is configured.
func mailSender(c *config.Config) (pinger, error) {
	switch {
	case c.Mailgun != nil:
		client := channel.NewOperatorClient(c.OperatorProxy())
		return email.NewMailgun(c.Mailgun.Domain, channel.Secret(c.Mailgun.APIKey), c.Mailgun.APIBase, client), nil
	case c.SMTP != nil:
		s, err := email.NewSMTP(email.SMTPConfig{
			Host: c.SMTP.Host, Port: c.SMTP.Port, TLS: string(c.SMTP.TLS), Helo: c.SMTP.Helo,
			User: c.SMTP.User, Password: channel.Secret(c.SMTP.Password),
		})
		if err != nil {
			return nil, fmt.Errorf("use SMTP_URL: %w", err)
		}
		return s, nil
	}
	return nil, nil //nolint:nilnil // no mail is no fault
}

// startWorker starts the worker of this process. The caller shuts it down.
func (a *app) startWorker() (*worker.Worker, error) {
	all, err := senders(a.config)
	if err != nil {
		return nil, err
	}
	var pass func(context.Context, *dbmodel.PeriodicRun) (string, error)
	if a.config.SecObserve != nil {
		s := connector(a.config, a.db, a.vault, a.queue, metrics.CountAccepted(a.registry))
		pass = func(ctx context.Context, run *dbmodel.PeriodicRun) (string, error) {
			counts, err := s.Sync(ctx, run, secobserve.Options{})
			return counts.String(), err
		}
	}
	w := worker.New(worker.Config{
		SecObserve: pass,
		DB:         a.db, Vault: a.vault, Queue: a.queue, Senders: all, BaseURL: a.config.BaseURL, Log: a.log,
		NewRedis: func() redis.UniversalClient { return newRedis(a.redis) },
		Rates:    a.config.Rates, Concurrency: a.config.WorkerConcurrency, ShutdownTimeout: a.config.ShutdownTimeout,
		Registry: a.registry, Tracer: a.tracer(),
	})
	return w, w.Start()
}

// startScheduler starts the scheduler of this process. The caller shuts it down.
func (a *app) startScheduler() *scheduler.Scheduler {
	s := scheduler.New(a.db, a.queue, a.log)
	a.registry.MustRegister(s.Metrics())
	if a.config.SecObserve != nil {
		s.ReadSecObserve(a.config.SecObserve.Interval)
	}
	s.Start()
	return s
}

// webHandler returns the handler of all calls and pages; its streams end with ctx. The token setup makes the first
// administrator; an empty one makes none.
func (a *app) webHandler(ctx context.Context, setup string) (http.Handler, error) {
	all, err := senders(a.config)
	if err != nil {
		return nil, err
	}
	people, err := a.share(web.PeopleConnections)
	if err != nil {
		return nil, err
	}
	intake, err := a.share(intakeConns)
	if err != nil {
		return nil, err
	}
	var oidc *login.OIDC
	if o := a.config.OIDC; o != nil {
		oidc = &login.OIDC{
			Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: o.ClientSecret.Reveal(), Proxy: a.config.OperatorProxy(),
		}
	}
	var followed *web.SecObserve
	if o := a.config.SecObserve; o != nil {
		takes := func(word string) bool { return !slices.Contains(o.Keep, word) }
		followed = &web.SecObserve{
			URL: o.URL, Contacts: takes("contacts"), Conditions: takes("conditions"), Members: takes("members"),
			Settings: takes("settings"),
		}
	}
	acceptor := accept.New(intake, a.queue)
	acceptor.Count, acceptor.Trace = metrics.CountAccepted(a.registry), tracing.Within
	return web.New(web.Config{
		SecObserve: followed,
		DB:         people, Intake: intake, Vault: a.vault, Acceptor: acceptor, Registry: a.registry, Tracer: a.tracer(),
		Queue: a.queue, Redis: a.clients[0],
		Senders: all, Log: a.log, Version: version(), Stopping: ctx.Done(),
		BaseURL: a.config.BaseURL, TrustedProxies: a.config.TrustedProxies,
		WebhookAllowedNetworks: a.config.WebhookAllowedNetworks, MonitorWrite: a.config.MonitorWrite,
		AdminToken: a.config.AdminToken.Reveal(), SetupToken: setup, OIDC: oidc,
	}), nil
}
