package dbmodel

import (
	"strings"
	"unicode/utf8"
)

// maxReason is how many bytes are kept of a reason, such as that of a failed event, and of the message of a run.
const maxReason = 10_000

// Clean returns text as it can be stored: valid UTF-8 without NUL, cut to limit bytes at the most.
func Clean(text string, limit int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) <= limit {
		return text
	}
	cut := limit - len("…")
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
