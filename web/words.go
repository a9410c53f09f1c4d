package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/rule"
)

// ago says how long t is past, or still to come, in one unit.
func ago(t time.Time) string {
	d := time.Since(t)
	if d < 0 {
		if text := span(-d); text != "" {
			return "in " + text
		}
		return "now"
	}
	if text := span(d); text != "" {
		return text + " ago"
	}
	return "now"
}

// span is a duration in its largest unit; empty below a few seconds.
func span(d time.Duration) string {
	switch {
	case d < 5*time.Second:
		return ""
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// number writes 12345 as 12,345.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// shortened is a text as a line of a list, or the title of a window, has room for it.
func shortened(text string) string {
	const most = 100
	if len(text) <= most {
		return text
	}
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

// plural is a number with its noun: 1 delivery, 2 deliveries.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// severityClass is the class that colours a severity; the word always stands beside it.
func severityClass(s rule.Severity) string { return "sev-" + strings.ToLower(string(s)) }

// firstRunes returns the first n characters of a text.
func firstRunes(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
