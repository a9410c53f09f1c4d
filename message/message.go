// Package message says what a notification or a digest tells, in the words of the field and in no channel's format. It is
// pure: no I/O, no clock, no state. It does not decide what is told or to whom, and it escapes nothing: senders do that.
//
// Every message says first what one needs most: event and severity, title, product; then facts, change, origin, link.
// Whatever is empty is left out.
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

// Builder knows what all messages need. It is safe for concurrent use as long as nobody changes its settings.
type Builder struct {
	BaseURL  string            // of Tocsin's own pages, without a slash at the end
	Settings *dbmodel.Settings // the sender's address and the URLs for links; never nil
}

// Recipient is who a message is for.
type Recipient struct {
	Channel   rule.Channel
	Address   string      // of an email; empty for webhooks, whose addresses are secrets
	FirstName string      // empty where it is not known
	Source    rule.Holder // of its contact; of no kind: not known
}

// Notification says what n tells. The same delivery gives the same message at every try.
func (b Builder) Notification(n *dbmodel.Notification, deliveryID int64, to Recipient) *channel.Message {
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
	b.address(m, to, origin(n, to.Source))
	return m
}

// Test is what somebody asks for who wants to see whether messages arrive. A productID of 0 stands for the settings that
// hold for everything; productName may then be a name for them, or empty.
func (b Builder) Test(productName string, productID int64, to Recipient) *channel.Message {
	name := channel.Line(productName, maxProduct)
	m := &channel.Message{
		Headline: "Test from Tocsin: messages arrive here",
		Tone:     channel.Default,
		Action:   channel.Link{Label: "Open settings", URL: b.page("settings")},
	}
	where := source{text: "the settings", page: "settings"}
	if name != "" {
		m.Headline = "Test from Tocsin: messages for " + name + " arrive here"
		where.text = "the notification settings of " + name
	}
	if productID != 0 {
		where.page = productPage(productID)
		m.Action = channel.Link{Label: "Open product", URL: b.page(where.page)}
	}
	b.address(m, to, where)
	if m.Reason != "" {
		m.Reason = "because somebody sent a test from " + where.text
	}
	return m
}

// address fills what only mail needs.
func (b Builder) address(m *channel.Message, to Recipient, from source) {
	if to.Channel != rule.Email {
		return
	}
	m.From, m.Greeting = b.Settings.EmailFrom, to.FirstName
	m.ReasonURL = b.page(from.page)
	if to.Address != "" {
		m.Reason = "because " + to.Address + " is set in " + from.text
	}
}

// source is where it is set that somebody is told.
type source struct {
	text string // "the notification settings of Payments API"
	page string // where that is changed
}

// addresses is the place on the page of a product, or of a group, where addresses are set.
const addresses = "#notification_email_to"

// Sources that hold for everything.
var (
	titleSettings = sourceOf(rule.Holder{Kind: rule.HolderTitles}, "", "settings#observation_title_notification_email_to")
	faultSettings = sourceOf(rule.Holder{Kind: rule.HolderExceptions}, "", "settings#exception_email_to")
)

func origin(n *dbmodel.Notification, from rule.Holder) source {
	switch n.Type {
	case rule.TypeObservationTitle:
		return titleSettings
	case rule.TypeException, rule.TypeTask:
		return faultSettings
	case rule.TypeObservation, rule.TypeSecurityGate:
	}
	if n.ProductID == nil {
		return source{"the notification settings", "settings"}
	}
	if from.Kind == rule.HolderGroup {
		return sourceOf(from, n.Facts.ProductGroupName, "product-groups/"+strconv.FormatInt(from.ID, 10)+addresses)
	}
	product := rule.Holder{Kind: rule.HolderProduct, ID: *n.ProductID}
	return sourceOf(product, productName(n), productPage(product.ID)+addresses)
}

func sourceOf(h rule.Holder, name, page string) source {
	return source{"the notification settings " + placeInWords(h, name), page}
}

func productPage(id int64) string { return "products/" + strconv.FormatInt(id, 10) }

// thread is the same for all that is about the same thing; exceptions have none.
func thread(n *dbmodel.Notification) string {
	switch {
	case n.Type == rule.TypeObservation && n.ObservationID != nil:
		return fmt.Sprintf("observation-%d", *n.ObservationID)
	case n.Type == rule.TypeObservationTitle:
		hash := sha256.Sum256([]byte(n.Name))
		return "title-" + hex.EncodeToString(hash[:8])
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

// isFault reports whether t is about a program that failed, not about what it found.
func isFault(t rule.Type) bool { return t == rule.TypeException || t == rule.TypeTask }

// productName is empty for what has no product, and for titles, which are about many.
func productName(n *dbmodel.Notification) string {
	if n.Type == rule.TypeObservationTitle {
		return ""
	}
	name := channel.Line(n.Facts.ProductName, maxProduct)
	if name == "" && n.Type == rule.TypeSecurityGate {
		name = channel.Line(n.Name, maxProduct)
	}
	return name
}

// plural is "1 product", "2 products".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

// joined puts what is not empty between separators.
func joined(separator string, parts ...string) string {
	var filled []string
	for _, p := range parts {
		if p != "" {
			filled = append(filled, p)
		}
	}
	return strings.Join(filled, separator)
}
