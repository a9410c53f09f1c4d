package accept

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/seed91453169/tocsin/dbmodel"
)

// maxArgumentDepth is how deep arguments are kept: many JSON parsers refuse deeper ones, and one notification must
// not make a whole page of the inbox unreadable to them.
const maxArgumentDepth = 64

// Sizes in bytes by which arguments that are too long are cut.
const (
	noteSize         = 1024 // for the entry that says that they are cut, and for the braces
	entryOverhead    = 8    // for colon, comma and the spaces with which PostgreSQL writes an entry
	leastShare       = 16   // a value that would get less is left out, with its name
	bytesOfCharacter = 6    // at most, where JSON escapes it
)

// secretWords in the name of an argument make its value a secret.
var secretWords = []string{"password", "passwd", "secret", "token", "key", "authorization", "cookie"}

// decoding is held while arguments that are too long are decoded: as values they take many times as much memory, so
// only those of one exception may be decoded at once.
var decoding sync.Mutex

// storedArguments masks secrets at any depth, and cuts what is too long.
func storedArguments(arguments []byte) (json.RawMessage, error) {
	if len(arguments) > MaxExceptionText {
		decoding.Lock()
		defer decoding.Unlock()
	}
	var values map[string]any
	decoder := json.NewDecoder(bytes.NewReader(arguments))
	decoder.UseNumber() // a float64 would lose digits
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
	cut := map[string]any{"…": fmt.Sprintf("cut: the arguments had %d bytes", len(text))}
	room := MaxExceptionText - noteSize
	for i, name := range names {
		key, err := marshal(name) // JSON escapes some characters, so it is longer than the name
		if err != nil {
			return nil, err
		}
		value, err := marshal(masked[name])
		if err != nil {
			return nil, err
		}
		overhead := len(key) + entryOverhead
		share := room/(len(names)-i) - overhead
		switch {
		case share < leastShare: // it is left out
		case len(value) <= share:
			cut[name] = masked[name]
			room -= overhead + len(value)
		default:
			short := dbmodel.Clean(string(value), max(share/bytesOfCharacter, len("…")+1))
			cut[name] = short
			room -= overhead + bytesOfCharacter*len(short)
		}
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

// mask replaces secrets by "***", and all objects and lists below the given depth by "…". It also cleans texts, and
// writes numbers as number does. It changes lists in place.
func mask(in any, depth int) any {
	switch v := in.(type) {
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
		for i := range v {
			v[i] = mask(v[i], depth-1)
		}
	case string:
		return dbmodel.Clean(v, MaxExceptionText)
	case json.Number:
		if n := number(v.String()); n != in {
			return n
		}
	}
	return in
}

// Lengths of numbers.
const (
	maxWritten  = 400 // characters of any number as it came: a float64 has at most 309 digits before the point
	maxPlain    = 40  // characters of a number that came with an exponent, written without it
	exactDigits = 15  // digits of a mantissa: a float64 may change one that has more
)

// number returns a number as PostgreSQL returns it, without an exponent: otherwise arguments that were cut to
// MaxExceptionText would grow again. It returns text as a JSON string where the form without an exponent would be long
// or inexact, or where a float64 cannot hold the number and PostgreSQL may refuse it.
func number(text string) any {
	f, err := strconv.ParseFloat(text, 64)
	mantissa, _, exponent := strings.Cut(strings.ToLower(text), "e")
	if err != nil || len(text) > maxWritten || f == 0 && strings.ContainsAny(mantissa, "123456789") {
		return text
	}
	if !exponent {
		return json.Number(text)
	}
	plain := strconv.FormatFloat(f, 'f', -1, 64)
	digits := strings.TrimLeft(strings.Replace(mantissa, ".", "", 1), "-0")
	if len(plain) > maxPlain || len(digits) > exactDigits {
		return text
	}
	return json.Number(plain)
}
