package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// formFaults are the messages of a form by field, as its template shows them beside the fields.
type formFaults map[string]string

// faultsIn returns the faults of a form that was refused. ok is false for errors that are about something else.
func faultsIn(err error) (f formFaults, ok bool) {
	if err == nil {
		return nil, false
	}
	p := problemOf(err)
	if p.Status != http.StatusUnprocessableEntity || len(p.Errors) == 0 {
		return nil, false
	}
	f = formFaults{}
	for _, e := range p.Errors {
		f[e.Location] = e.Message
	}
	return f, true
}

// queryWord is a word in the address of a page; what is none of words counts as left out.
func queryWord[T ~string](r *http.Request, name string, words []T) T {
	for _, w := range words {
		if r.FormValue(name) == string(w) {
			return w
		}
	}
	return ""
}

// queryText is a text in the address of a page, without what no database takes.
func queryText(r *http.Request, name string) string {
	const longest = 1000
	text := strings.ToValidUTF8(strings.ReplaceAll(strings.TrimSpace(r.FormValue(name)), "\x00", ""), "")
	return strings.ToValidUTF8(text[:min(len(text), longest)], "")
}

// queryID is a number in the address of a page, 0 where there is none.
func queryID(r *http.Request, name string) int64 {
	id, err := strconv.ParseInt(r.FormValue(name), 10, 64)
	if err != nil || id < 1 {
		return 0
	}
	return id
}

// withQuery is a path with parameters; pairs are names and values, and those without a value are left out.
func withQuery(path string, pairs ...string) string {
	q := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		if value := pair[1]; value != "" && value != "0" {
			q.Set(pair[0], value)
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
