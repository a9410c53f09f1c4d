package input

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
)

// ReadObservations reads {"observations":[…]}, the whole of a body. The error is Faults, a *SyntaxError or one of
// reading.
func ReadObservations(body io.Reader) ([]dbmodel.Observation, error) {
	dec := jsontext.NewDecoder(&cutStrings{in: body}, observationOptions...)
	var faults Faults
	var list []dbmodel.Observation
	found := false
	err := readObject(dec, func(name string) (err error) {
		if name != "observations" {
			faults.Add(ShownName(name), "is not a field of this call")
			return dec.SkipValue()
		}
		found = true
		list, err = readObservationList(dec, &faults)
		return err
	})
	if errors.Is(err, errTooMany) {
		return nil, faults
	}
	if err != nil {
		return nil, err
	}
	if !found {
		faults.Add("observations", "is required")
	}
	if faults == nil {
		return list, nil
	}
	// The answer names everything at once: also what is wrong with values that could be read.
	for i := range list {
		at := "observations[" + strconv.Itoa(i) + "]"
		if slices.ContainsFunc(faults, func(f Fault) bool { return f.Location == at }) {
			continue // it is no object
		}
		for _, f := range accept.ValidateObservation(&list[i]) {
			faults.AddOnce(below(at, f.Field), f.Message)
		}
	}
	return nil, faults
}

// errTooMany ends the reading of a body that is refused anyway.
var errTooMany = errors.New("too many")

func readObservationList(dec *jsontext.Decoder, faults *Faults) ([]dbmodel.Observation, error) {
	if dec.PeekKind() != '[' {
		faults.Add("observations", "must be a list")
		return nil, dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	var list []dbmodel.Observation
	var at []byte
	for dec.PeekKind() != ']' {
		if len(list) == accept.MaxObservations {
			faults.Add("observations", fmt.Sprintf("must have at most %d entries: send more as application/x-ndjson, one a line",
				accept.MaxObservations))
			return nil, errTooMany
		}
		if faults.Full() {
			return nil, errTooMany
		}
		at = strconv.AppendInt(append(at[:0], "observations["...), int64(len(list)), 10)
		list = append(list, dbmodel.Observation{})
		if err := readObservation(dec, &list[len(list)-1], string(append(at, ']')), faults); err != nil {
			return nil, err
		}
	}
	_, err := dec.ReadToken()
	return list, err
}

// maxLine is how many bytes a line has at most, without the ones that end it.
const maxLine = 1 << 20

// Lines reads observations of a stream, one a line.
type Lines struct {
	in   *bufio.Reader
	dec  *jsontext.Decoder
	text *bytes.Reader
	line int
}

// NewLines returns a reader of the lines of body.
func NewLines(body io.Reader) *Lines {
	return &Lines{
		in:  bufio.NewReaderSize(body, maxLine+2), // one more than a line with \r\n, so that a longer one shows
		dec: jsontext.NewDecoder(strings.NewReader(""), observationOptions...), text: bytes.NewReader(nil),
	}
}

// LineError says what is wrong with one line.
type LineError struct {
	Line   int    // from 1
	Reason string // follows "line 7": "is longer than 1 MiB"
	Faults Faults // of single fields
}

// Error implements error.
func (e *LineError) Error() string { return fmt.Sprintf("line %d %s", e.Line, e.Reason) }

// Next reads the next observation and returns the number of its line, from 1. It passes over empty lines. The error is
// io.EOF behind the last line, a *LineError, or one of reading.
func (l *Lines) Next(o *dbmodel.Observation) (line int, err error) {
	for {
		raw, err := l.in.ReadSlice('\n')
		if err == io.EOF && len(raw) == 0 {
			return l.line, io.EOF
		}
		l.line++
		raw = bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))
		switch {
		case len(raw) > maxLine || errors.Is(err, bufio.ErrBufferFull):
			return l.line, &LineError{Line: l.line, Reason: "is longer than 1 MiB"}
		case err != nil && err != io.EOF:
			return l.line, err
		}
		if l.line == 1 {
			raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
		}
		if raw = bytes.TrimSpace(raw); len(raw) == 0 {
			continue
		}
		l.text.Reset(raw)
		l.dec.Reset(l.text, observationOptions...)
		if refused := readLine(l.dec, o); refused != nil {
			refused.Line = l.line
			return l.line, refused
		}
		return l.line, nil
	}
}

// readLine reads an observation that stands alone.
func readLine(dec *jsontext.Decoder, o *dbmodel.Observation) *LineError {
	var faults Faults
	err := readObservation(dec, o, "", &faults)
	if err == nil {
		if _, err = dec.ReadToken(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			return &LineError{Reason: "must be one JSON object: something comes after its end"}
		}
	}
	if err != nil {
		s := syntaxError(err, dec)
		return &LineError{Reason: "is broken JSON: " + s.Reason + ", at byte " + strconv.FormatInt(s.Offset, 10)}
	}
	if len(faults) == 0 || faults[0].Location != "" { // else it is no object
		for _, f := range accept.ValidateObservation(o) {
			faults.AddOnce(f.Field, f.Message)
		}
	}
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return &LineError{Reason: "has a fault: " + faults.Error(), Faults: faults}
	}
	return &LineError{Reason: "has " + faults.Error(), Faults: faults}
}
