// Package message writes the text of notifications and digests, in the words of the field and in no channel's format,
// and the JSON of notifications, for signed webhooks and the HTTP interface. It is pure: no I/O, no clock, no state. It
// decides neither what is notified nor who receives it, and it escapes nothing: the senders do that.
//
// Every message has the same order: event and severity, title, product; then facts, change, origin, link. Empty facts
// are left out.
package message

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// Builder builds messages. It is safe for concurrent use as long as nobody changes its settings.
type Builder struct {
	BaseURL  string            // of Tocsin's own pages, without a trailing slash
	Settings *dbmodel.Settings // for links, the sender's address and the window of equal exceptions; never nil
}

// Recipient is the target that a message is written for.
type Recipient struct {
	Channel   rule.Channel
	Address   string      // an email address; empty for webhooks, whose URLs are secrets
	FirstName string      // of the user with this address; empty where there is none
	Holder    rule.Holder // of its contact; the zero value: not known
	// HolderName is the name of Holder where that is a subscription or a product group.
	HolderName string
	// Unsubscribe is the link that disables a personal subscription, where that is the only reason for the message; else
	// empty.
	Unsubscribe string
}

// Single builds the message of one delivery of n. The message has the same ID in every attempt.
func (b Builder) Single(n *dbmodel.Notification, deliveryID int64, to Recipient) *channel.Message {
	m := &channel.Message{
		Headline: headline(n, b.Settings.ExceptionRateLimit),
		Tone:     tone(n),
		Action:   b.action(n),
		ID:       "delivery-" + strconv.FormatInt(deliveryID, 10),
		Thread:   thread(n),
	}
	m.Facts = facts(n, m.Headline)
	if isFault(n.Type) {
		m.Text = faultText(n, m.Headline)
	}
	b.addMailFields(m, to, settingPlace(n, to))
	return m
}

// Test builds a test message for the contacts of a product. A productID of 0 stands for the global settings;
// name is then that of a part of them, such as "observation titles", or empty.
func (b Builder) Test(name string, productID int64, to Recipient) *channel.Message {
	where := place{text: "the settings", page: "settings"}
	if name != "" {
		where.text = "the notification settings of " + channel.Line(name, maxProduct)
	}
	action := channel.Link{Label: "Open settings", URL: b.page("settings")}
	if productID != 0 {
		where.page = productPage(productID)
		action = channel.Link{Label: "Open product", URL: b.page(where.page)}
	}
	return b.test(name, action, where, to)
}

// SubscriptionTest builds a test message for the contacts of a subscription.
func (b Builder) SubscriptionTest(name string, id int64, to Recipient) *channel.Message {
	where := subscriptionPlace(id, name)
	return b.test(name, channel.Link{Label: "Open subscription", URL: b.page(where.page)}, where, to)
}

// test builds a test message for the contacts of a product, a subscription or a part of the settings with this name,
// which may be empty.
func (b Builder) test(name string, action channel.Link, where place, to Recipient) *channel.Message {
	m := &channel.Message{
		Headline: "Test from Tocsin: " + joined(" for ", "messages", channel.Line(name, maxProduct)) + " arrive here",
		Tone:     channel.Default,
		Action:   action,
	}
	b.addMailFields(m, to, where)
	if m.Reason != "" {
		m.Reason = "because somebody sent a test from " + where.text
	}
	return m
}

// addMailFields fills the fields that only mail needs.
func (b Builder) addMailFields(m *channel.Message, to Recipient, where place) {
	if !to.Channel.Info().ByAddress {
		return
	}
	m.From, m.Greeting, m.Unsubscribe = b.Settings.EmailFrom, to.FirstName, to.Unsubscribe
	m.ReasonURL = b.page(where.page)
	if to.Address != "" {
		m.Reason = "because " + to.Address + " is set in " + where.text
	}
}

// thread is the same for all notifications about the same observation, title or gate; empty for all others.
func thread(n *dbmodel.Notification) string {
	switch {
	case n.Type == rule.TypeObservation && n.ObservationID != nil:
		return fmt.Sprintf("observation-%d", *n.ObservationID)
	case n.Type == rule.TypeObservationTitle:
		hash := sha256.Sum256([]byte(n.Name))
		return "title-" + hex.EncodeToString(hash[:16])
	case n.Type == rule.TypeSecurityGate && n.ProductID != nil:
		return fmt.Sprintf("gate-%d", *n.ProductID)
	}
	return ""
}

func tone(n *dbmodel.Notification) channel.Tone {
	switch {
	case isFault(n.Type), n.Event == rule.EventFailed:
		return channel.Attention
	case n.Event == rule.EventPassed:
		return channel.Good
	case n.Event == rule.EventDropped:
		return channel.Default
	}
	return severityTone(n.AfterSeverity)
}

func severityTone(s rule.Severity) channel.Tone {
	switch s {
	case rule.Critical:
		return channel.Attention
	case rule.High:
		return channel.Warning
	case rule.Medium:
		return channel.Accent
	case rule.Low, rule.SeverityNone, rule.SeverityUnknown:
	}
	return channel.Default
}

// isFault reports whether t is about a failure of a program, not about its findings.
func isFault(t rule.Type) bool { return t == rule.TypeException || t == rule.TypeTask }

// productName is wholeProductName, short enough for a headline.
func productName(n *dbmodel.Notification) string {
	return channel.Line(wholeProductName(n), maxProduct)
}

// wholeProductName is empty where n has no product, and for titles, which are about many products.
func wholeProductName(n *dbmodel.Notification) string {
	switch {
	case n.Type == rule.TypeObservationTitle:
		return ""
	case n.Facts.ProductName == "" && n.Type == rule.TypeSecurityGate:
		return n.Name
	}
	return n.Facts.ProductName
}

// plural is "1 product", "2 products".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

// joined joins the parts that are not empty.
func joined(separator string, parts ...string) string {
	var filled []string
	for _, p := range parts {
		if p != "" {
			filled = append(filled, p)
		}
	}
	return strings.Join(filled, separator)
}
