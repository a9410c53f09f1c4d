package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/seed91453169/tocsin/config"
)

type healthCommand struct{}

// Help is printed below the usage.
func (healthCommand) Help() string {
	return `Asks /readyz where the process of this environment may listen: TOCSIN_METRICS_LISTEN, TOCSIN_LISTEN or PORT.
Exits with 0 where one of them is ready, else with 1: for the health check of a container.`
}

// Run prints what the process answers.
func (healthCommand) Run(ctx context.Context, t *terminal) error {
	c, err := config.Load(config.Check, t.environ)
	if err != nil {
		return err
	}
	var faults []error
	for _, address := range []string{c.MetricsListen, c.Listen} {
		if address == "" {
			continue
		}
		text, err := askReady(ctx, address)
		if err == nil {
			_, err = fmt.Fprintln(t.out, text)
			return err
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// askReady returns the answer of /readyz at an address to listen on; another status than 200 is an error.
func askReady(ctx context.Context, listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("%s is no address to listen on: %w", listen, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	url := "http://" + net.JoinHostPort(host, port) + "/readyz"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // without a proxy
	response, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s is not ready: %d %s", listen, response.StatusCode, text)
	}
	return string(text), err
}
