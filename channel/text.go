package channel

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const ellipsis = '…'

// Line makes untrusted text fit for one line: see Text; line breaks and tabs become spaces, and space around it is cut.
func Line(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return r
	}, clean(s))
	return Truncate(strings.TrimSpace(s), limit)
}

// Text makes untrusted text fit to be shown over several lines: at most limit characters as Truncate counts them, valid
// UTF-8, line breaks as \n, no other control characters than tabs (they become U+FFFD, so that one sees something was
// there), and none of the characters that change the direction of text, which can make it read otherwise than it is
// (https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing). Right-to-left scripts work without them.
func Text(s string, limit int) string {
	return Truncate(strings.TrimRight(clean(s), " \t\n"), limit)
}

// Truncate cuts s to at most limit characters, the last of which is then an ellipsis. It never cuts a character in two.
// A character outside the Basic Multilingual Plane counts twice: vendors that measure in UTF-16 refuse what has one
// emoji too many.
func Truncate(s string, limit int) string {
	if len(s) <= limit || Length(s) <= limit {
		return s
	}
	if limit < 1 {
		return ""
	}
	n, end := 0, 0
	for i, r := range s {
		if n += width(r); n > limit-1 {
			break
		}
		end = i + utf8.RuneLen(r)
	}
	return strings.TrimRight(s[:end], " \t\n\u200d") + string(ellipsis)
}

// Length counts characters as Truncate does.
func Length(s string) int {
	n := 0
	for _, r := range s {
		n += width(r)
	}
	return n
}

func width(r rune) int {
	if r > 0xffff {
		return 2
	}
	return 1
}

// Invisible returns the position, counted in characters from 1, and the first character of s that nobody sees: space other
// than " ", a control or format character (zero width, direction, byte order mark), or a filler. The position is 0 where
// there is none.
func Invisible(s string) (position int, r rune) {
	for _, r := range s {
		position++
		if r != ' ' && invisible(r) {
			return position, r
		}
	}
	return 0, 0
}

// TrimInvisible cuts space and invisible characters at the ends of s, where they come from copying and nothing is meant.
func TrimInvisible(s string) string { return strings.TrimFunc(s, invisible) }

func invisible(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Z, r) || unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) ||
		unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) || unicode.Is(unicode.Variation_Selector, r)
}

// clean maps character by character; only \n and \t are left of what controls.
func clean(s string) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case r == '\r', r == '\v', r == '\f', r == '\u0085', r == '\u2028', r == '\u2029':
			return '\n'
		case r < 0x20, 0x7f <= r && r <= 0x9f:
			return utf8.RuneError
		case bidi(r), r == '\ufeff':
			return -1
		}
		return r
	}, s)
}

// bidi reports whether r has the property Bidi_Control (https://www.unicode.org/Public/UCD/latest/ucd/PropList.txt).
func bidi(r rune) bool {
	return r == '\u061c' || r == '\u200e' || r == '\u200f' || '\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069'
}
