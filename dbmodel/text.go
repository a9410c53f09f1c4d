package dbmodel

import (
	"strings"
	"unicode/utf8"
)

// maxReason is how many bytes of a reason are kept.
const maxReason = 10_000

// Clean makes a text that can be stored of any: valid UTF-8 without NUL, cut to at most so many bytes.
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
