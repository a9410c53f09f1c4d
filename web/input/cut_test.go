package input

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// TestCutStrings: strings that are too long end in time, at the end of a character, and all else stays as it is.
func TestCutStrings(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"9", `"\ud83d`, "\"\x80"} { // what has no end that is a good one
		body := unit + strings.Repeat(unit[len(unit)-1:], 2*maxString)
		if unit[0] == '"' {
			body = unit[:1] + strings.Repeat(unit[1:], 2*maxString)
		}
		if read, err := io.ReadAll(&cutStrings{in: strings.NewReader(body)}); err != nil || len(read) > maxString+2*mostToEnd {
			t.Errorf("%q: %d bytes are left, %v", unit, len(read), err)
		}
	}
	for name, c := range map[string]struct{ unit, written string }{
		"letters":    {"x", "x"},
		"characters": {"ä", "ä"},
		"four bytes": {"😀", "😀"},
		"escapes":    {`\`, `\\`},
		"quotes":     {`"`, `\"`},
		"numbers":    {"ä", `\u00e4`},
		"pairs":      {"😀", `\ud83d\uDE00`},
	} {
		body := `{"b\"":0,"a":"` + strings.Repeat(c.written, maxString/len(c.written)-1) + `","b":["` +
			strings.Repeat(c.written, 2*maxString/len(c.written)) + `","\ud83d\ude00",1]}`
		read, err := io.ReadAll(&cutStrings{in: iotest.HalfReader(strings.NewReader(body))})
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			A string `json:"a"`
			B []any  `json:"b"`
		}
		var whole struct {
			A string `json:"a"`
		}
		if err := json.Unmarshal([]byte(body), &whole); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(read, &got); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		cut, _ := got.B[0].(string)
		if got.A != whole.A || len(got.B) != 3 || got.B[1] != "😀" || got.B[2] != 1.0 {
			t.Errorf("%s: what is short has changed", name)
		}
		if len(read) > len(body)/2+maxString || strings.Trim(cut, c.unit) != "" || !utf8.ValidString(cut) {
			t.Errorf("%s: %d of %d bytes, %d of a string", name, len(read), len(body), len(cut))
		}
	}
}
