package web

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/tasks"
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

// observationOptions: a name that comes twice is not looked for, it costs a tenth of the time; the last one counts.
var observationOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true)}

// readObservation reads one observation. The error is one of dec: the JSON is broken, or cannot be read. What is wrong with
// single fields is added to faults, with locations below at; the rest is read all the same.
//
// It works on tokens because a struct with reflection takes twice the time, and says neither all faults nor which required
// fields are missing.
func readObservation(dec *jsontext.Decoder, o *tasks.Observation, at string, faults *faultList) error {
	if dec.PeekKind() != '{' {
		if err := dec.SkipValue(); err != nil {
			return err
		}
		faults.add(at, "must be an object")
		return nil
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	*o = tasks.Observation{}
	has := 0
	for dec.PeekKind() == '"' {
		field, err := readName(dec)
		if err != nil {
			return err
		}
		var message string
		switch field {
		case "id":
			has |= hasID
			o.ID, message, err = readID(dec)
		case "product_id":
			has |= hasProductID
			o.ProductID, message, err = readID(dec)
		case "title":
			has |= hasTitle
			o.Title, message, err = readText(dec, false)
		case "severity":
			has |= hasSeverity
			o.Severity, message, err = readWord(dec, rule.Severities)
		case "status":
			has |= hasStatus
			o.Status, message, err = readWord(dec, rule.Statuses)
		case "priority":
			has |= hasPriority
			o.Priority, message, err = readPriority(dec)
		case "parser_type":
			has |= hasParserType
			o.ParserType, message, err = readWord(dec, rule.ParserTypes)
		case "vulnerability_id":
			o.VulnerabilityID, message, err = readText(dec, true)
		case "cvss_score":
			o.CVSSScore, message, err = readScore(dec)
		case "origin":
			message, err = readOrigin(dec, &o.Origin, at, faults)
		case "url":
			o.URL, message, err = readText(dec, true)
		default:
			field, message, err = faultyName(field), "is not a field of an observation", dec.SkipValue()
		}
		if err != nil {
			return err
		}
		if message != "" {
			faults.add(below(at, field), message)
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	if has != required {
		for i, field := range requiredFields {
			if has&(1<<i) == 0 {
				faults.add(below(at, field), "is required")
			}
		}
	}
	return nil
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

// readID reads a whole number; its range is tasks.ValidateObservation's business.
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
		return 0, fmt.Sprintf("must be from 1 to %d", int64(tasks.MaxID)), nil
	case err != nil:
		return 0, mustBeWhole, nil //nolint:nilerr // the message says it
	}
	return n, "", nil
}

// readText reads a text; where it may be left out null and [] are empty ones.
func readText(dec *jsontext.Decoder, optional bool) (string, string, error) {
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

// readWord reads one of words. It returns the word out of the list, so that 10,000 observations do not keep 10,000 copies
// of "Critical".
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
	return "", "must be one of " + list(words), nil
}

func readPriority(dec *jsontext.Decoder) (*int, string, error) {
	const message = "must be a whole number from 1 to 99, or null"
	if dec.PeekKind() != '0' {
		empty, err := readEmpty(dec)
		if err != nil || empty {
			return nil, "", err
		}
		return nil, message, nil
	}
	v, err := dec.ReadValue()
	if err != nil {
		return nil, "", err
	}
	n, err := strconv.Atoi(string(v))
	if err != nil {
		return nil, message, nil //nolint:nilerr // the message says it
	}
	return &n, "", nil
}

func readScore(dec *jsontext.Decoder) (*float64, string, error) {
	const message = "must be a number from 0 to 10, or null"
	if dec.PeekKind() != '0' {
		empty, err := readEmpty(dec)
		if err != nil || empty {
			return nil, "", err
		}
		return nil, message, nil
	}
	v, err := dec.ReadValue()
	if err != nil {
		return nil, "", err
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return nil, message, nil //nolint:nilerr // the message says it
	}
	return &f, "", nil
}

// readOrigin reads a text or an object of component, image, file and endpoint.
func readOrigin(dec *jsontext.Decoder, o *tasks.Origin, at string, faults *faultList) (string, error) {
	const message = "must be a text, or an object of component, image, file and endpoint"
	*o = tasks.Origin{}
	if dec.PeekKind() != '{' {
		var wrong string
		var err error
		if o.Text, wrong, err = readText(dec, true); wrong != "" {
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
			o.Component, wrong, err = readText(dec, true)
		case "image":
			o.Image, wrong, err = readText(dec, true)
		case "file":
			o.File, wrong, err = readText(dec, true)
		case "endpoint":
			o.Endpoint, wrong, err = readText(dec, true)
		default:
			field, wrong, err = faultyName(field), "is not a field of an origin", dec.SkipValue()
		}
		if err != nil {
			return "", err
		}
		if wrong != "" {
			faults.add(below(at, "origin."+field), wrong)
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

// readObservations reads {"observations":[…]}, the whole of a body. The error is a *problem, or one of reading.
func readObservations(body io.Reader) ([]tasks.Observation, error) {
	dec := jsontext.NewDecoder(body, observationOptions...)
	var faults faultList
	var list []tasks.Observation
	found := false
	if kind := dec.PeekKind(); kind != '{' {
		return nil, notAnObject(dec)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, brokenJSON(err, dec)
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, brokenJSON(err, dec)
		}
		if field := name.String(); field != "observations" {
			faults.add(faultyName(field), "is not a field of this call")
			err = dec.SkipValue()
		} else {
			found = true
			list, err = readObservationList(dec, &faults)
		}
		if errors.Is(err, errTooMany) {
			return nil, invalid(faults...)
		}
		if err != nil {
			return nil, brokenJSON(err, dec)
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, brokenJSON(err, dec)
	}
	if err := atEnd(dec); err != nil {
		return nil, err
	}
	if !found {
		faults.add("observations", "is required")
	}
	if faults == nil {
		return list, nil
	}
	// Tell all at once: also what is wrong with values that could be read.
	for i := range list {
		at := "observations[" + strconv.Itoa(i) + "]"
		if slices.ContainsFunc(faults, func(f fault) bool { return f.Location == at }) {
			continue // it is no object
		}
		for _, f := range tasks.ValidateObservation(&list[i]) {
			faults.addOnce(below(at, f.Field), f.Message)
		}
	}
	return nil, invalid(faults...)
}

// errTooMany ends the reading of what is refused anyway.
var errTooMany = errors.New("too many")

func readObservationList(dec *jsontext.Decoder, faults *faultList) ([]tasks.Observation, error) {
	if dec.PeekKind() != '[' {
		faults.add("observations", "must be a list")
		return nil, dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	var list []tasks.Observation
	var at []byte
	for dec.PeekKind() != ']' {
		if len(list) == tasks.MaxObservations {
			faults.add("observations", fmt.Sprintf("must have at most %d entries: send more as application/x-ndjson, one a line", tasks.MaxObservations))
			return nil, errTooMany
		}
		if faults.full() {
			return nil, errTooMany
		}
		at = strconv.AppendInt(append(at[:0], "observations["...), int64(len(list)), 10)
		list = append(list, tasks.Observation{})
		if err := readObservation(dec, &list[len(list)-1], string(append(at, ']')), faults); err != nil {
			return nil, err
		}
	}
	_, err := dec.ReadToken()
	return list, err
}
