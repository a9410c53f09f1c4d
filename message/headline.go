package message

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// Lengths in characters.
const (
	maxHeadline = 240 // what a mail's subject may have; the facts hold a title that is cut here
	maxProduct  = 80
	maxName     = 100    // of a class or function within a headline
	maxTitle    = 10_000 // none longer is ever stored
)

const untitled = "(no title)"

// headline returns the first line, which must be enough on its own. window is the time in seconds within which equal
// exceptions are suppressed.
func headline(n *dbmodel.Notification, window int) string {
	switch n.Type {
	case rule.TypeObservation, rule.TypeObservationTitle:
		return fit(lead(n)+": ", title(n), inProduct(n))
	case rule.TypeSecurityGate:
		return fit(gateLead(n.Event)+": ", productName(n), "")
	case rule.TypeException:
		class := channel.Line(n.Name, maxName)
		message := firstLine(n.Message)
		if message == "" {
			return fit("Exception ", class, suppressedWords(n.Suppressed, window))
		}
		return fit("Exception "+class+": ", message, suppressedWords(n.Suppressed, window))
	case rule.TypeTask:
		if n.Own {
			return fit("", OwnFailure(n), suppressedWords(n.Suppressed, window))
		}
		failed := joined(" ", "Background task", channel.Line(n.Function, maxName), "failed: ")
		return fit(failed, channel.Line(n.Name, maxName), suppressedWords(n.Suppressed, window))
	}
	return fit(n.Type.Info().Name+": ", title(n), inProduct(n))
}

// inProduct returns " in Payments API", empty where n has no product.
func inProduct(n *dbmodel.Notification) string {
	if p := productName(n); p != "" {
		return " in " + p
	}
	return ""
}

// OwnFailure returns what failed in Tocsin itself, in words: the first line of the message of n, with a capital
// letter. It never names the task type.
func OwnFailure(n *dbmodel.Notification) string {
	line := firstLine(n.Message)
	if line == "" {
		return "A background task of Tocsin failed"
	}
	return capitalised(line)
}

func capitalised(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return ""
	}
	return string(unicode.ToUpper(first)) + s[size:]
}

// fit joins three texts, and cuts the middle one so that the whole fits into a headline.
func fit(before, middle, behind string) string {
	room := max(maxHeadline-channel.Length(before)-channel.Length(behind), 20)
	return channel.Line(before+channel.Truncate(middle, room)+behind, maxHeadline)
}

func title(n *dbmodel.Notification) string {
	if s := channel.Line(n.Name, maxTitle); s != "" {
		return s
	}
	return untitled
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(channel.Text(strings.TrimSpace(uncredentialed(s)), maxHeadline*2), "\n")
	return channel.Line(s, maxHeadline)
}

// lead returns the words before the title: event and severity, and the number of products that a title is in.
func lead(n *dbmodel.Notification) string {
	if n.Event == rule.EventDropped {
		return dropped(n)
	}
	severity, change := string(n.AfterSeverity), ""
	switch after := n.After(); {
	case n.Event == rule.EventChanged:
		severity, change = leadChange(n.Before(), after)
	case after != nil && after.Exploited():
		change = "known exploited"
	}
	if severity == "" {
		severity = "Observation"
	}
	if n.Type == rule.TypeObservationTitle && n.Facts.Products > 1 {
		severity += " in " + plural(n.Facts.Products, "product")
	}
	return joined(", ", severity, change)
}

// leadChange returns the words for the severity and for what else changed. Of severity, status and priority, only the
// first one that changed is named; a changed severity stands in the place of the severity, and so does "Now known
// exploited" where nothing else changed.
func leadChange(before, after *rule.Values) (severity, change string) {
	if after == nil {
		return "", ""
	}
	severity = string(after.Severity)
	if before == nil {
		return severity, ""
	}
	became := becameExploited(before, after)
	switch {
	case before.Severity != after.Severity:
		severity = arrow(string(before.Severity), string(after.Severity))
	case before.Status != after.Status:
		change = "now " + string(after.Status)
	case !before.Equal(*after):
		change = "priority " + arrow(priority(before.Priority), priority(after.Priority))
	case became:
		return "Now known exploited", ""
	}
	if became {
		change = joined(", ", change, "now known exploited")
	}
	return severity, change
}

// becameExploited reports whether after is known to be exploited, and before was not.
func becameExploited(before, after *rule.Values) bool {
	return after.Exploited() && !before.Exploited()
}

// dropped names the change that most likely ended the match. A status that is no longer active stands alone. Where no
// value changed, the settings did, or the observation moved to a product with other settings.
func dropped(n *dbmodel.Notification) string {
	before, after := n.Before(), n.After()
	cause := "Settings changed"
	switch {
	case after == nil:
	case !after.Status.Active() && (before == nil || before.Status != after.Status):
		return string(after.Status)
	case before == nil:
		cause = string(after.Status)
	case before.Severity != after.Severity:
		cause = arrow(string(before.Severity), string(after.Severity))
	case before.Status != after.Status:
		cause = string(after.Status)
	case !before.Equal(*after):
		cause = "Priority " + arrow(priority(before.Priority), priority(after.Priority))
	case becameExploited(after, before):
		cause = "No longer known exploited"
	}
	return cause + ", no longer notified"
}

func gateLead(e rule.Event) string {
	switch e {
	case rule.EventPassed:
		return "Security gate passed"
	case rule.EventFailed:
		return "Security gate failed"
	case rule.EventNoResult, rule.NoEvent, rule.EventNew, rule.EventChanged, rule.EventDropped:
	}
	return "Security gate has no result"
}

// gateResults are the words for the results of a security gate, the worst first.
var gateResults = []struct {
	event rule.Event
	words string
}{{rule.EventFailed, "failed"}, {rule.EventPassed, "passed"}, {rule.EventNoResult, "without result"}}

// suppressedWords says how many equal exceptions were suppressed; it begins with a space.
func suppressedWords(times, window int) string {
	if times <= 0 {
		return ""
	}
	count := plural(times, "time") + " more"
	if times == 1 {
		count = "once more"
	}
	if window <= 0 {
		return " (and " + count + " before)"
	}
	return " (and " + count + " in the last " + span(window) + ")"
}

// span returns a number of seconds in words: "hour", "90 seconds", "2 hours".
func span(seconds int) string {
	for _, unit := range []struct {
		name    string
		seconds int
	}{{"day", 86_400}, {"hour", 3600}, {"minute", 60}, {"second", 1}} {
		if seconds == unit.seconds {
			return unit.name
		}
		if seconds%unit.seconds == 0 && seconds > unit.seconds {
			return strconv.Itoa(seconds/unit.seconds) + " " + unit.name + "s"
		}
	}
	return strconv.Itoa(seconds) + " seconds"
}

func arrow(before, after string) string { return fmt.Sprintf("%s → %s", before, after) }

func priority(p *int) string {
	if p == nil {
		return "none"
	}
	return strconv.Itoa(*p)
}
