package input

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
)

// The fields of an observation, as bits; the first seven are required.
const (
	hasID = 1 << iota
	hasProductID
	hasTitle
	hasSeverity
	hasStatus
	hasPriority
	hasParserType
	required = 1<<iota - 1
)

var requiredFields = []string{"id", "product_id", "title", "severity", "status", "priority", "parser_type"}

// observationOptions takes a name that comes twice, whose last value counts: looking for it costs a tenth of the time.
var observationOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true)}

// readObservation reads one observation. The error is one of dec: the JSON is broken, or cannot be read. What is wrong
// with single fields is added to faults, with locations below at; the rest is read all the same.
//
// It works on tokens because a struct with reflection takes twice the time, and says neither all faults nor which
// required fields are missing.
func readObservation(dec *jsontext.Decoder, o *dbmodel.Observation, at string, faults *Faults) error {
	if dec.PeekKind() != '{' {
		if err := dec.SkipValue(); err != nil {
			return err
		}
		faults.Add(at, "must be an object")
		return nil
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	*o = dbmodel.Observation{}
	has := 0
	for dec.PeekKind() == '"' {
		name, err := readName(dec)
		if err != nil {
			return err
		}
		bit, message, err := readRequired(dec, name, o)
		if bit == 0 && name == "origin" {
			message, err = readOrigin(dec, &o.Origin, at, faults)
		} else if bit == 0 {
			name, message, err = readOptional(dec, name, o)
		}
		if err != nil {
			return err
		}
		if has |= bit; message != "" {
			faults.Add(below(at, name), message)
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	if has != required {
		for i, name := range requiredFields {
			if has&(1<<i) == 0 {
				faults.Add(below(at, name), "is required")
			}
		}
	}
	return nil
}

// readRequired reads the value of a required field and returns its bit, 0 where the field is none of them.
func readRequired(dec *jsontext.Decoder, name string, o *dbmodel.Observation) (bit int, message string, err error) {
	switch name {
	case "id":
		bit = hasID
		o.ID, message, err = readID(dec)
	case "product_id":
		bit = hasProductID
		o.ProductID, message, err = readID(dec)
	case "title":
		bit = hasTitle
		o.Title, message, err = readString(dec, false)
	case "severity":
		bit = hasSeverity
		o.Severity, message, err = readWord(dec, rule.Severities)
	case "status":
		bit = hasStatus
		o.Status, message, err = readWord(dec, rule.Statuses)
	case "priority":
		bit = hasPriority
		o.Priority, message, err = readPriority(dec)
	case "parser_type":
		bit = hasParserType
		o.ParserType, message, err = readWord(dec, rule.ParserTypes)
	}
	return bit, message, err
}

// readOptional reads the value of another field. shown is the name as a fault may show it.
func readOptional(dec *jsontext.Decoder, name string, o *dbmodel.Observation) (shown, message string, err error) {
	switch name {
	case "vulnerability_id":
		o.VulnerabilityID, message, err = readString(dec, true)
	case "cvss_score":
		o.CVSSScore, message, err = readScore(dec, "10")
	case "url":
		o.URL, message, err = readString(dec, true)
	case "known_exploited":
		o.KnownExploited, message, err = readYesNo(dec)
	case "epss_score":
		o.EPSSScore, message, err = readScore(dec, "1")
	case "fixed_version":
		o.FixedVersion, message, err = readString(dec, true)
	case "branch":
		o.Branch, message, err = readString(dec, true)
	case "service":
		o.Service, message, err = readString(dec, true)
	case "scanner":
		o.Scanner, message, err = readString(dec, true)
	default:
		return ShownName(name), "is not a field of an observation", dec.SkipValue()
	}
	return name, message, err
}

// readName reads the name of a field.
func readName(dec *jsontext.Decoder) (string, error) {
	v, err := dec.ReadValue()
	if err != nil {
		return "", err
	}
	switch string(v[1 : len(v)-1]) { // constants, so that no name is copied
	case "id":
		return "id", nil
	case "product_id":
		return "product_id", nil
	case "title":
		return "title", nil
	case "severity":
		return "severity", nil
	case "status":
		return "status", nil
	case "priority":
		return "priority", nil
	case "parser_type":
		return "parser_type", nil
	}
	name, err := jsontext.AppendUnquote(nil, v)
	return string(name), err
}

// readID reads a whole number; accept.ValidateObservation checks its range.
func readID(dec *jsontext.Decoder) (int64, string, error) {
	if dec.PeekKind() != '0' {
		return 0, mustBeWhole, dec.SkipValue()
	}
	v, err := dec.ReadValue()
	if err != nil {
		return 0, "", err
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Sprintf("must be from 1 to %d", int64(accept.MaxID)), nil
	case err != nil:
		return 0, mustBeWhole, nil //nolint:nilerr // the message says it
	}
	return n, "", nil
}

// readString reads a text; where it may be left out null and [] are empty ones.
func readString(dec *jsontext.Decoder, optional bool) (string, string, error) {
	if dec.PeekKind() != '"' {
		if optional {
			empty, err := readEmpty(dec)
			if err != nil || empty {
				return "", "", err
			}
			return "", mustBeText, nil
		}
		return "", mustBeText, dec.SkipValue()
	}
	t, err := dec.ReadToken()
	if err != nil {
		return "", "", err
	}
	return t.String(), "", nil
}

// readWord reads one of words. It returns the word out of the list, so that 10,000 observations do not keep 10,000
// copies of "Critical".
func readWord[T ~string](dec *jsontext.Decoder, words []T) (T, string, error) {
	if dec.PeekKind() == '"' {
		v, err := dec.ReadValue()
		if err != nil {
			return "", "", err
		}
		raw := v[1 : len(v)-1]
		for _, w := range words {
			if string(raw) == string(w) {
				return w, "", nil
			}
		}
		if text, err := jsontext.AppendUnquote(nil, v); err == nil { // a word may be written with escapes
			for _, w := range words {
				if string(text) == string(w) {
					return w, "", nil
				}
			}
		}
	} else if err := dec.SkipValue(); err != nil {
		return "", "", err
	}
	return "", MustBeOneOf(words), nil
}

func readPriority(dec *jsontext.Decoder) (*int, string, error) {
	return readNumber(dec, "must be a whole number from 1 to 99, or null", strconv.Atoi)
}

// readScore reads a number; accept.ValidateObservation checks that it is at most most.
func readScore(dec *jsontext.Decoder, most string) (*float64, string, error) {
	return readNumber(dec, "must be a number from 0 to "+most+", or null", func(s string) (float64, error) {
		return strconv.ParseFloat(s, 64)
	})
}

// readNumber reads a number that may be left out, as null, "" or []. message is the fault of anything else, and of what
// parse refuses.
func readNumber[T any](
	dec *jsontext.Decoder, message string, parse func(string) (T, error),
) (*T, string, error) {
	v, err := dec.ReadValue()
	switch {
	case err != nil:
		return nil, "", err
	case v.Kind() != '0' && isEmpty(v):
		return nil, "", nil
	case v.Kind() != '0':
		return nil, message, nil
	}
	n, err := parse(string(v))
	if err != nil {
		return nil, message, nil //nolint:nilerr // the message says it
	}
	return &n, "", nil
}

// readYesNo reads true or false, or nothing.
func readYesNo(dec *jsontext.Decoder) (*bool, string, error) {
	switch dec.PeekKind() {
	case 't', 'f':
		t, err := dec.ReadToken()
		if err != nil {
			return nil, "", err
		}
		return new(t.Bool()), "", nil
	default:
		empty, err := readEmpty(dec)
		if err != nil || empty {
			return nil, "", err
		}
		return nil, "must be true, false or null", nil
	}
}

// readOrigin reads a text or an object of component, image, file and endpoint.
func readOrigin(dec *jsontext.Decoder, o *dbmodel.Origin, at string, faults *Faults) (string, error) {
	const message = "must be a text, or an object of component, image, file and endpoint"
	*o = dbmodel.Origin{}
	if dec.PeekKind() != '{' {
		var wrong string
		var err error
		if o.Text, wrong, err = readString(dec, true); wrong != "" {
			wrong = message
		}
		return wrong, err
	}
	if _, err := dec.ReadToken(); err != nil {
		return "", err
	}
	for dec.PeekKind() == '"' {
		field, err := readName(dec)
		if err != nil {
			return "", err
		}
		var wrong string
		switch field {
		case "component":
			o.Component, wrong, err = readString(dec, true)
		case "image":
			o.Image, wrong, err = readString(dec, true)
		case "file":
			o.File, wrong, err = readString(dec, true)
		case "endpoint":
			o.Endpoint, wrong, err = readString(dec, true)
		default:
			field, wrong, err = ShownName(field), "is not a field of an origin", dec.SkipValue()
		}
		if err != nil {
			return "", err
		}
		if wrong != "" {
			faults.Add(below(at, "origin."+field), wrong)
		}
	}
	_, err := dec.ReadToken()
	return "", err
}

// readEmpty reads a value and reports whether it is null, "" or [].
func readEmpty(dec *jsontext.Decoder) (bool, error) {
	v, err := dec.ReadValue()
	return err == nil && isEmpty(v), err
}

// below is the location of a field of what is at a location.
func below(at, field string) string {
	if at == "" {
		return field
	}
	return at + "." + field
}
