package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

const (
	// maxPlaces is how many places of a webhook are named.
	maxPlaces = 3
	// webhooksAtOnce is how many webhooks are tried at once.
	webhooksAtOnce = 8
	// webhooksTime bounds all webhooks together, for there may be thousands and a firewall before all of them.
	webhooksTime = 2 * time.Minute
)

// errWebhooksTime is the fault of each webhook that webhooksTime left without a result.
var errWebhooksTime = fmt.Errorf(
	"not known: the webhooks took the %s that all have together, as others did not answer", webhooksTime)

// webhookCheck is one webhook to try, or the reason why it cannot be tried.
type webhookCheck struct {
	what, address string
	fault         error
}

// webhooks sends a HEAD request to each target. Any answer counts as reachable.
func (k *checker) webhooks(
	ctx context.Context, c *config.Config, targets []dbmodel.ConfiguredTarget, vault *dbmodel.Vault,
) {
	ctx, cancel := context.WithTimeoutCause(ctx, webhooksTime, errWebhooksTime)
	defer cancel()
	client := webhookClient(c)
	defer client.CloseIdleConnections()
	list := make([]webhookCheck, len(targets))
	for i, target := range targets {
		places := message.Places(target.Places, maxPlaces)
		address, err := vault.OpenAddress(target.Channel, target.Address)
		if err != nil {
			list[i].what = fmt.Sprintf("Webhook %d (%s) %s", target.ID, target.Channel, places)
			list[i].fault = errors.New(string(rule.AddressLost))
			continue
		}
		list[i].what = fmt.Sprintf("Webhook %s (%s) %s", channel.RedactURL(address), target.Channel, places)
		list[i].address = address
	}
	tryWebhooks(ctx, client, list, func(w webhookCheck, fault error) { k.say(w.what, "can be reached", fault) })
}

// tryWebhooks tries some webhooks at once, and calls say for each in the order of the list. Where ctx ends
// with errWebhooksTime, that is the fault of each that has no result by then.
func tryWebhooks(ctx context.Context, client *http.Client, list []webhookCheck, say func(webhookCheck, error)) {
	faults := make([]chan error, len(list))
	for i := range faults {
		faults[i] = make(chan error, 1)
	}
	go func() {
		slots := make(chan struct{}, webhooksAtOnce)
		for i, w := range list {
			slots <- struct{}{}
			go func() {
				faults[i] <- tryWebhook(ctx, client, w)
				<-slots
			}()
		}
	}()
	for i, w := range list {
		say(w, <-faults[i])
	}
}

func tryWebhook(whole context.Context, client *http.Client, w webhookCheck) error {
	if w.fault != nil {
		return w.fault
	}
	ctx, cancel := context.WithTimeout(whole, checkTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, w.address, http.NoBody)
	if err != nil {
		return errors.New("it is not a valid URL: enter it again")
	}
	response, err := client.Do(request)
	switch {
	case err == nil:
		_ = response.Body.Close()
		return nil
	case errors.Is(context.Cause(whole), errWebhooksTime):
		return errWebhooksTime
	}
	return channel.NetworkError("the webhook", err)
}
