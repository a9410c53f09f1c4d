package dbmodel

import (
	"strings"
	"unicode/utf8"
)

// maxReason is how many bytes are kept of a reason, such as that of a failed event, and of the message of a run.
const maxReason = 10_000

// Clean returns text as it can be stored: valid UTF-8 without NUL, cut to at most most bytes.
func Clean(text string, most int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) <= most {
		return text
	}
	cut := most - len("…")
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
