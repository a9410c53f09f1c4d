package accept

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/seed91453169/tocsin/dbmodel"
)

// maxArgumentDepth is how deep arguments are kept: many JSON parsers refuse deeper ones, and one notification must
// not make a whole page of the inbox unreadable to them.
const maxArgumentDepth = 64

// secretWords in the name of an argument make its value a secret.
var secretWords = []string{"password", "passwd", "secret", "token", "key", "authorization", "cookie"}

// storedArguments masks secrets at any depth, and cuts what is too long.
func storedArguments(arguments []byte) (json.RawMessage, error) {
	var values map[string]any
	decoder := json.NewDecoder(bytes.NewReader(arguments))
	decoder.UseNumber() // numbers stay as they were written
	if err := decoder.Decode(&values); err != nil {
		return nil, InvalidError{{"arguments", "must be an object"}}
	}
	masked := mask(values, maxArgumentDepth).(map[string]any) //nolint:forcetypeassert // mask keeps what is a map
	text, err := marshal(masked)
	if err != nil {
		return nil, err
	}
	if len(text) <= MaxExceptionText {
		return text, nil
	}
	// Each value gets its share; the names stay, as far as they fit.
	names := slices.Sorted(maps.Keys(masked))
	const room = MaxExceptionText - 1024
	cut := map[string]any{"…": fmt.Sprintf("cut: the arguments had %d bytes", len(text))}
	used := 0
	for i, name := range names {
		value, err := marshal(masked[name])
		if err != nil {
			return nil, err
		}
		share := (room-used)/(len(names)-i) - 2*len(name) - 8
		if share < 16 {
			continue
		}
		if len(value) > share {
			// In JSON a quote or a line break of the text takes two bytes or more: a third of the share is safe.
			short := dbmodel.Clean(string(value), max(share/6, 4))
			cut[name] = short
			used += 2*len(name) + 8 + 6*len(short)
			continue
		}
		cut[name] = masked[name]
		used += 2*len(name) + 8 + len(value)
	}
	return marshal(cut)
}

func marshal(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, InvalidError{{"arguments", "must be representable in JSON"}}
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// mask replaces secrets by "***", and what lies deeper than the given number of objects and lists by "…".
func mask(v any, depth int) any {
	switch v := v.(type) {
	case map[string]any:
		if depth == 0 {
			return "…"
		}
		out := make(map[string]any, len(v))
		for name, value := range v {
			lower := strings.ToLower(name)
			if slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(lower, w) }) {
				value = "***"
			}
			out[dbmodel.Clean(name, maxExceptionName)] = mask(value, depth-1)
		}
		return out
	case []any:
		if depth == 0 {
			return "…"
		}
		out := make([]any, len(v))
		for i := range v {
			out[i] = mask(v[i], depth-1)
		}
		return out
	case string:
		return dbmodel.Clean(v, MaxExceptionText)
	case json.Number:
		return number(v.String())
	}
	return v
}

// longestNumber is how long a number with an exponent may be without it.
const longestNumber = 40

// number returns a number as PostgreSQL returns it, without an exponent: otherwise arguments that were cut to their
// length would grow again. It returns text where that would be long, or where a float64 cannot hold the number and
// PostgreSQL may refuse it.
func number(text string) any {
	f, err := strconv.ParseFloat(text, 64)
	mantissa, _, exponent := strings.Cut(strings.ToLower(text), "e")
	if err != nil || len(text) > 400 || f == 0 && strings.ContainsAny(mantissa, "123456789") {
		return text
	}
	if !exponent {
		return json.Number(text)
	}
	plain := strconv.FormatFloat(f, 'f', -1, 64)
	if len(plain) > longestNumber || len(mantissa) > 17 { // beyond that a float64 has lost digits
		return text
	}
	return json.Number(plain)
}
