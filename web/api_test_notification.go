package web

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

const (
	// testTime bounds all messages of one test.
	testTime = 15 * time.Second
	// testsAtOnce is how many messages of one test are under way at once.
	testsAtOnce = 8
)

type testFields struct {
	Channel input.Field[rule.Channel] `json:"channel" doc:"Left out: all that are set"`
}

type testResult struct {
	Channel rule.Channel `json:"channel"`
	Target  string       `json:"target" doc:"An email address, or the redacted URL of a webhook"`
	OK      bool         `json:"ok"`
	Message string       `json:"message" doc:"What happened, in words"`
}

type testOutput struct {
	Body struct {
		Results []testResult `json:"results" nullable:"false"`
	}
}

func (s *server) apiTestProduct(ctx context.Context, in *IDParam) (*testOutput, error) {
	var sent testFields
	if err := readOptionalJSON(ctx, &sent); err != nil {
		return nil, err
	}
	return s.testProduct(ctx, in.ID, sent.Channel.Value)
}

// testProduct sends a test to the contacts of a product, by one channel or, where only is empty, by all.
func (s *server) testProduct(ctx context.Context, id int64, only rule.Channel) (*testOutput, error) {
	role, err := dbmodel.RoleIn(ctx, s.db.Reader, viewerOf(ctx), id)
	if err != nil {
		return nil, missing(err, "product", id)
	}
	if err := needs(role, rule.Maintainer); err != nil {
		return nil, err
	}
	products, err := dbmodel.ProductContexts(ctx, s.db.Reader, []int64{id})
	if err != nil {
		return nil, fmt.Errorf("load product %d: %w", id, err)
	}
	p := products[id]
	if p == nil {
		return nil, notFound("product")
	}
	a := rule.Effective(p.Product, p.Group)
	a.Paused = false // a test is no notification
	return s.test(ctx, only, a, func(b message.Builder, to message.Recipient) *channel.Message {
		return b.Test(p.Name, p.ID, to)
	})
}

func (s *server) apiTestSettings(ctx context.Context, _ *struct{}) (*testOutput, error) {
	var sent testFields
	if err := readOptionalJSON(ctx, &sent); err != nil {
		return nil, err
	}
	return s.testSettings(ctx, sent.Channel.Value)
}

// testSettings sends a test to the contacts for titles and exceptions, as testProduct does.
func (s *server) testSettings(ctx context.Context, only rule.Channel) (*testOutput, error) {
	contacts, err := dbmodel.ContactsOf(ctx, s.db.Reader, titleHolder, exceptionHolder)
	if err != nil {
		return nil, err
	}
	all := rule.Contacts{}
	for _, holder := range []rule.Holder{titleHolder, exceptionHolder} {
		for c, list := range contacts[holder] {
			all[c] = append(all[c], list...)
		}
	}
	return s.test(ctx, only, rule.Applied{Contacts: all}, func(b message.Builder, to message.Recipient) *channel.Message {
		return b.Test("", 0, to)
	})
}

// test sends a test that say makes to contacts, of only one channel where that is given, and says what became of each.
func (s *server) test(
	ctx context.Context, only rule.Channel, a rule.Applied, say func(message.Builder, message.Recipient) *channel.Message,
) (*testOutput, error) {
	settings, err := dbmodel.LoadSettings(ctx, s.db.Reader)
	if err != nil {
		return nil, fmt.Errorf("load the settings: %w", err)
	}
	contacts, err := s.recipients(ctx, s.db.Reader, a, nil, settings)
	if err != nil {
		return nil, err
	}
	builder := message.Builder{BaseURL: s.baseURL, Settings: settings}
	ctx, cancel := context.WithTimeout(ctx, testTime)
	defer cancel()
	out := new(testOutput)
	var wanted []contact
	for _, c := range contacts {
		if only == "" || c.Channel == only {
			wanted = append(wanted, c)
		}
	}
	if len(wanted) == 0 && only != "" {
		out.Body.Results = []testResult{{Channel: only, Message: "Nothing is set for this channel, so no message was sent."}}
		return out, nil
	}
	out.Body.Results = make([]testResult, len(wanted))
	slots := make(chan struct{}, testsAtOnce)
	var all sync.WaitGroup
	for i, c := range wanted {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			r := testResult{Channel: c.Channel, Target: c.shown, Message: c.Reason.Sentence()}
			if r.Message == "" {
				to := message.Recipient{Channel: c.Channel}
				if c.Channel.Info().ByAddress {
					to.Address = c.address.Reveal()
				}
				r.Message = s.sendTest(ctx, c, say(builder, to))
			}
			if r.OK = r.Message == ""; r.OK {
				r.Message = "The message was sent."
			}
			out.Body.Results[i] = r
		})
	}
	all.Wait()
	return out, nil
}

// sendTest returns why the message was not taken; empty: it was.
func (s *server) sendTest(ctx context.Context, c contact, m *channel.Message) (reason string) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error().Bytes("stack", debug.Stack()).Msgf("send a test: panic: %T", v)
			reason = "Something went wrong here; the log says what."
		}
	}()
	if c.Channel.Info().Signed {
		if err := s.signTest(ctx, c.Target, m); err != nil {
			s.log.Error().Err(err).Msg("sign a test")
			return "The secret of the webhook cannot be read: rotate it."
		}
	}
	err := s.senders[c.Channel].Send(ctx, channel.Target{Channel: c.Channel, Address: c.address}, m)
	var refused *channel.Error
	switch {
	case err == nil:
		if err := dbmodel.EnableContacts(ctx, s.db, c.Target); err != nil {
			s.log.Error().Err(err).Msg("enable the contact of a test")
		}
		return ""
	case ctx.Err() == context.DeadlineExceeded:
		return fmt.Sprintf("No answer within %s.", testTime)
	case errors.As(err, &refused):
		return refused.Reason
	}
	return "Sending failed."
}
