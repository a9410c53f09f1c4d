package message

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// Limits of the text of an exception or a failed task; the inbox shows all of it. Together they stay below what Slack
// takes in one section, so that no sender cuts the end of the trace, which says most.
const (
	maxMessage    = 600  // characters
	maxTrace      = 2200 // characters
	maxTraceLine  = 300  // characters
	maxTraceLines = 20
)

// faultText returns the message, as far as the headline does not hold it, and the end of the trace.
func faultText(n *dbmodel.Notification, headline string) string {
	message := strings.TrimSpace(channel.Text(uncredentialed(n.Message), maxMessage))
	first, rest, _ := strings.Cut(message, "\n")
	switch {
	case n.Type == rule.TypeException && strings.Contains(headline, ": "+message):
		message = ""
	case n.Type == rule.TypeTask && n.Own && strings.HasPrefix(headline, capitalised(channel.Line(first, maxMessage))):
		message = rest
	}
	return joined("\n\n", message, traceEnd(uncredentialed(n.Trace)))
}

// traceEnd keeps the last lines of a trace, and says how many came before them.
func traceEnd(trace string) string {
	trace = strings.Trim(channel.Text(trace, len(trace)+1), "\n")
	if strings.TrimSpace(trace) == "" {
		return ""
	}
	lines := strings.Split(trace, "\n")
	first, room := len(lines), maxTrace
	for first > 0 && len(lines)-first < maxTraceLines {
		line := channel.Truncate(strings.TrimRight(lines[first-1], " \t"), maxTraceLine)
		if room -= channel.Length(line) + 1; room < 0 {
			break
		}
		first--
		lines[first] = line
	}
	end := strings.Join(lines[first:], "\n")
	if first > 0 {
		end = fmt.Sprintf("… %s before, all in Tocsin\n%s", plural(first, "line"), end)
	}
	return end
}

// arguments returns the arguments of a background task in one line. Those with the name of a secret are stored masked.
func arguments(stored json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, stored) != nil {
		return uncredentialed(string(stored))
	}
	switch s := b.String(); s {
	case "null", "{}", "[]", `""`:
		return ""
	default:
		return uncredentialed(s)
	}
}

// credentials matches what is secret by its form: the user and password in a URL, and a token in an authorization
// header. They are masked before a text is cut, because half a URL no longer shows that it is one.
var credentials = regexp.MustCompile(`(://)[^/\s@"']+(@)|(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{16,}`)

func uncredentialed(s string) string { return credentials.ReplaceAllString(s, "$1$3***$2") }
