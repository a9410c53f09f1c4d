package input

import (
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/email"
)

// Each check returns what is wrong with a text; empty: nothing. None repeats the text.

func checkAddresses(s string) string {
	if _, err := email.SplitAddresses(s); err != nil {
		return "must be email addresses with commas between them: " + err.Error()
	}
	return ""
}

func checkMailbox(s string) string {
	if email.CheckAddress(s) != nil {
		return orInvisible(s, "must be one email address, like alex@example.com")
	}
	return ""
}

// orInvisible is message, or where in s a character is that nobody sees: without that a reader finds no fault in s.
func orInvisible(s, message string) string {
	if at, r := channel.Invisible(s); at > 0 {
		return fmt.Sprintf("has an invisible character (%U) at position %d", r, at)
	}
	return message
}

func checkSender(s string) string {
	const message = "must be an email address, like tocsin@example.com or Tocsin <tocsin@example.com>"
	a, err := mail.ParseAddress(s)
	if err != nil || email.CheckAddress(a.Address) != nil {
		return orInvisible(s, message)
	}
	return ""
}

// placeholders fills in what a link may hold.
var placeholders = strings.NewReplacer("{id}", "1", "{title}", "t")

func checkLink(s string) string {
	const message = "must be an address that begins with https:// or http://; {id} and {title} stand for what it leads to"
	filled := placeholders.Replace(s)
	if _, ok := channel.WebLink(filled); !ok || strings.ContainsAny(filled, "{}… ") {
		return message
	}
	_, host, _ := strings.Cut(s, "://")
	if end := strings.IndexAny(host, "/?#"); end >= 0 {
		host = host[:end]
	}
	if strings.Contains(host, "{") { // the name of an observation must not choose the host that its link leads to
		return "must not have {id} or {title} in its host"
	}
	return ""
}

// checkCron takes what the scheduler's parser takes. Zones are refused: lines are in UTC, and the parser panics on
// some.
func checkCron(s string) string {
	const message = "must be a cron line like 0 3 * * * (minute, hour, day, month, weekday; UTC) or a word like @daily"
	if strings.Contains(s, "TZ=") {
		return message
	}
	schedule, err := cron.ParseStandard(s)
	if err != nil {
		return message
	}
	if schedule.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return "names a time that never comes"
	}
	return ""
}
