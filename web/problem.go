package web

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/web/input"
)

// problem is an answer that is no success, as RFC 9457 describes it.
type problem struct {
	Type     string        `json:"type" doc:"Always about:blank: the status says it"`
	Title    string        `json:"title"`
	Status   int           `json:"status"`
	Detail   string        `json:"detail"`
	Instance string        `json:"instance,omitempty" doc:"Of a 5xx: what to look for in the log"`
	Errors   []input.Fault `json:"errors,omitempty" doc:"One entry for each faulty field"`
	Line     *int          `json:"line,omitempty" doc:"Of application/x-ndjson: the faulty line, from 1"`
	Stored   *int          `json:"stored,omitempty" doc:"Of application/x-ndjson: the leading lines that are kept"`

	retryAfter int    // seconds
	cause      error  // of a 5xx, for the log
	help       string // on a page of a 404, instead of the usual advice
}

// advising replaces the usual advice on the page of a 404.
func (p *problem) advising(help string) *problem {
	p.help = help
	return p
}

// Error implements error.
func (p *problem) Error() string { return p.Detail }

// Unwrap returns the cause.
func (p *problem) Unwrap() error { return p.cause }

// GetStatus implements huma.StatusError.
func (p *problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders implements huma.HeadersError.
func (p *problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	return h
}

func newProblem(status int, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// invalid is the answer to values that are refused; nothing of the request was stored.
func invalid(faults ...input.Fault) *problem {
	p := newProblem(http.StatusUnprocessableEntity, "The request has "+strconv.Itoa(len(faults))+" faults.")
	if len(faults) == 1 {
		p.Detail = strings.TrimSpace(faults[0].Location+" "+faults[0].Message) + "."
	}
	p.Errors = faults
	return p
}

// notFound is the answer where something does not exist, or not for this caller.
func notFound(what string) *problem {
	return newProblem(http.StatusNotFound, "There is no such "+what+".")
}

// unavailable is the answer while the database does not answer.
func unavailable(cause error) *problem {
	p := newProblem(http.StatusServiceUnavailable, "The database does not answer: try again in a moment.")
	p.retryAfter, p.cause = 2, cause
	return p
}

// problemOf says what an error means for the caller.
func problemOf(err error) *problem {
	var p *problem
	var faults input.Faults
	var broken *input.SyntaxError
	var refused accept.InvalidError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &faults):
		return invalid(faults...)
	case errors.As(err, &broken):
		return brokenJSON(broken)
	case errors.As(err, &refused):
		return invalid(faultsOf(refused)...)
	case errors.Is(err, dbmodel.ErrUnavailable):
		return unavailable(err)
	}
	p = newProblem(http.StatusInternalServerError, "Something went wrong here; the log says what.")
	p.cause = err
	return p
}

func faultsOf(refused accept.InvalidError) []input.Fault {
	out := make([]input.Fault, 0, len(refused))
	for _, f := range refused[:min(len(refused), input.MaxFaults)] {
		out = append(out, input.Fault{Location: f.Field, Message: f.Message})
	}
	return out
}

// fromHuma makes huma's own errors, which repeat the values they refuse, problems of ours.
func fromHuma(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := newProblem(m.Status, "The request is not valid.")
	var faults input.Faults
	for _, e := range m.Errors {
		in, name, _ := strings.Cut(e.Location, ".")
		if value, is := e.Value.(string); is && e.Location == "path.username" {
			if err := dbmodel.CheckUsername(value); err != nil {
				e.Message = err.Error() // it names the character and its position
			}
		}
		faults.Add(in+"."+input.ShownName(name), e.Message)
	}
	if p.Status == http.StatusUnprocessableEntity && len(faults) > 0 {
		p = invalid(faults...)
	}
	return p, nil
}

// refuse answers with a problem outside of huma.
func refuse(w http.ResponseWriter, p *problem) {
	h := w.Header()
	maps.Copy(h, p.GetHeaders())
	h.Set("Content-Type", p.ContentType(""))
	b, err := json.Marshal(p)
	if err != nil {
		b = []byte("{}") // texts and numbers only
	}
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(b) // a client that has gone needs no answer
}

// fail is the one place where errors of handlers become answers, and where those that are ours are logged.
func (s *server) fail(ctx context.Context, err error) *problem {
	p := problemOf(err)
	x := exchangeOf(ctx)
	switch {
	case p.Status < http.StatusInternalServerError:
	case errors.Is(ctx.Err(), context.Canceled):
		// The caller went away; at most somebody who has only ended sending waits for the answer.
		s.log.Debug().Err(p.cause).Func(x.ids).Msg("the caller did not wait for the answer")
		p = newProblem(http.StatusBadRequest, "The connection was closed before the answer was ready: ask again, "+
			"and keep it open.")
	default:
		p.Instance = requestURN + x.id
		s.log.Error().Err(p.cause).Func(x.ids).Str("route", x.r.Pattern).Int("status", p.Status).
			Msg("a request failed")
		if p.Status == http.StatusInternalServerError { // not a 503: without the database nothing can be accepted
			s.reportOwn(x, "InternalServerError", "a request failed: the log says why", p.Instance)
		}
	}
	return p
}
