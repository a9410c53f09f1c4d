package channel

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const ellipsis = '…'

// Line cleans untrusted text like Text, and makes one line of it: line breaks and tabs become spaces, and surrounding
// space is cut.
func Line(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return r
	}, clean(s))
	return Truncate(strings.TrimSpace(s), limit)
}

// Text cleans untrusted text of several lines. The result has at most limit characters as Truncate counts them, is
// valid UTF-8, has line breaks as \n, and of other control characters only tabs: the others become U+FFFD, which shows
// that something was there. Characters that change the direction of text are removed, because they can make it look
// different from what it is (https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing); right-to-left scripts
// work without them.
func Text(s string, limit int) string {
	return Truncate(strings.TrimRight(clean(s), " \t\n"), limit)
}

// Truncate cuts s to at most limit characters, the last of which is then an ellipsis. It never splits a character. A
// character outside the Basic Multilingual Plane, such as an emoji, counts twice, because some vendors count in
// UTF-16.
func Truncate(s string, limit int) string {
	if len(s) <= limit || Length(s) <= limit {
		return s
	}
	if limit < 1 {
		return ""
	}
	n, end := 0, len(s)
	for i, r := range s {
		if n += width(r); n > limit-1 {
			end = i
			break
		}
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

// width is the number of characters for which r counts.
func width(r rune) int {
	if r > 0xffff {
		return 2
	}
	return 1
}

// Invisible returns the first invisible character of s and its position, counted in characters from 1; the position is
// 0 where there is none. Invisible characters are all spaces but " ", control and format characters (zero width,
// direction, byte order mark), and fillers.
func Invisible(s string) (position int, r rune) {
	for _, r := range s {
		position++
		if r != ' ' && invisible(r) {
			return position, r
		}
	}
	return 0, 0
}

// TrimInvisible cuts spaces and invisible characters at both ends of s, where copying leaves them.
func TrimInvisible(s string) string { return strings.TrimFunc(s, invisible) }

// invisible reports whether r is a space or an invisible character.
func invisible(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Z, r) || unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) ||
		unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) || unicode.Is(unicode.Variation_Selector, r)
}

// clean removes or replaces what Text does not allow.
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
	return r == '\u061c' || r == '\u200e' || r == '\u200f' ||
		'\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069'
}
