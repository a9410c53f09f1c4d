package channel

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in, text, line string
		limit                int
	}{
		{"plain", "CVE-2026-1", "CVE-2026-1", "CVE-2026-1", 20},
		{"space around", "  a b \n", "  a b", "a b", 20},
		{"lines", "a\r\nb\rc\u2028d\te", "a\nb\nc\nd\te", "a b c d e", 20},
		{"controls", "a\x00b\x1b[1mc\x7f\u009b", "a\ufffdb\ufffd[1mc\ufffd\ufffd", "a\ufffdb\ufffd[1mc\ufffd\ufffd", 20},
		{"invalid", "a\xff\xfeb\xc3", "a\ufffdb\ufffd", "a\ufffdb\ufffd", 20},
		{"direction", "a\u202eb\u2066\u200f\u061cc\ufeff", "abc", "abc", 20},
		{"right to left", "שלום", "שלום", "שלום", 4},
		{"cut", "abcdef", "abcd…", "abcd…", 5},
		{"cut umlauts", "äöüäöü", "äöüä…", "äöüä…", 5},
		{"cut emoji", "🚨🚨🚨", "🚨🚨…", "🚨🚨…", 5},
		{"cut family", "👩\u200d👩\u200d👩", "👩…", "👩…", 5},
		{"exact", "abcde", "abcde", "abcde", 5},
		{"cut at space", "abc def", "abc…", "abc…", 5},
		{"one", "abc", "…", "…", 1},
		{"none", "abc", "", "", 0},
	} {
		if got := Text(c.in, c.limit); got != c.text {
			t.Errorf("%s: Text %q, want %q", c.name, got, c.text)
		}
		if got := Line(c.in, c.limit); got != c.line {
			t.Errorf("%s: Line %q, want %q", c.name, got, c.line)
		}
	}
}

func TestTruncateCountsInvalidBytes(t *testing.T) {
	t.Parallel()
	if got, want := Truncate("a"+strings.Repeat("\xff", 10), 5), "a\xff\xff\xff…"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTrimInvisible(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", " \u200b": "", "a": "a", "\ufeffa b\u00a0": "a b", "\u2066a\u2069": "a", "\u200ba\u200bb\u200d": "a\u200bb", "\u3164é\ufe0f": "é",
	} {
		if got := TrimInvisible(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\r\nb\u202e🚨\xff", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = min(max(limit, 0), 1000)
		for _, got := range []string{Text(s, limit), Line(s, limit)} {
			if !utf8.ValidString(got) || Length(got) > limit {
				t.Errorf("%q cut at %d is %q", s, limit, got)
			}
			if strings.ContainsFunc(got, func(r rune) bool {
				return unicode.Is(unicode.Bidi_Control, r) || unicode.IsControl(r) && r != '\n' && r != '\t'
			}) {
				t.Errorf("%q became %q", s, got)
			}
		}
		if strings.ContainsAny(Line(s, limit), "\n\t") {
			t.Errorf("%q has more than one line", s)
		}
	})
}
