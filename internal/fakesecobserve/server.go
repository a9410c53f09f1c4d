package fakesecobserve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Token is what the server accepts.
const Token = "fake-secobserve-token-0123456789"

// Fault is what the server does instead of answering.
type Fault int

// Faults.
const (
	NoFault         Fault = iota
	Unauthorized          // 401
	Forbidden             // 403
	NotFound              // 404
	TooMany               // 429, with Retry-After: 0
	ServerError           // 502 with HTML
	HTML                  // 200 with HTML
	EmptyList             // a list without rows
	HalfPage              // half of the rows, the count of all
	Truncated             // half of the bytes, with their length
	Cut                   // the connection ends amid the body
	LessPrivileged        // the answer for a user who is no superuser and sees nothing
	OtherVersion          // fields that the connector needs are missing
	SuperuserLost         // users are no superusers any more
	AllFaultsBehind       // how many there are
)

// Server answers for a model below URL.
type Server struct {
	*httptest.Server
	Model *Model

	mu       sync.Mutex
	fault    func(n int, r *http.Request) Fault
	requests int
	paths    []string
	version  string
	me       int64
}

// New starts a server for a model; me is the id of the user whose token is Token.
func New(t testing.TB, m *Model, me int64) *Server {
	t.Helper()
	s := &Server{Model: m, me: me, version: "version_1.52.0"}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// SetFault has the server ask f for each request, which it counts from 1, what goes wrong with it; nil: nothing.
func (s *Server) SetFault(f func(n int, r *http.Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.requests, s.paths = f, 0, nil
}

// Requests returns how many requests came since SetFault, and what they asked for.
func (s *Server) Requests() (int, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests, slices.Clone(s.paths)
}

// SetVersion changes what the server says of its version.
func (s *Server) SetVersion(v string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = v
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests++
	s.paths = append(s.paths, r.URL.RequestURI())
	n, f, version := s.requests, s.fault, s.version
	s.mu.Unlock()
	fault := NoFault
	if f != nil {
		fault = f(n, r)
	}
	if r.URL.Path == "/api/status/version/" && (fault == NoFault || fault > HTML) {
		write(w, http.StatusOK, object{"version": version})
		return
	}
	if r.Header.Get("Authorization") != "APIToken "+Token {
		fault = Unauthorized
	}
	switch fault {
	case Unauthorized:
		write(w, http.StatusUnauthorized, object{"message": "Invalid API token."})
	case Forbidden:
		write(w, http.StatusForbidden, object{"message": "You do not have permission to perform this action."})
	case NotFound:
		write(w, http.StatusNotFound, object{"message": "Not found."})
	case TooMany:
		w.Header().Set("Retry-After", "0")
		write(w, http.StatusTooManyRequests, object{"message": "Request was throttled."})
	case ServerError, HTML:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(map[Fault]int{ServerError: http.StatusBadGateway, HTML: http.StatusOK}[fault])
		_, _ = w.Write([]byte("<html><body>nginx</body></html>"))
	case NoFault, EmptyList, HalfPage, Truncated, Cut, LessPrivileged, OtherVersion, SuperuserLost, AllFaultsBehind:
		s.answer(w, r, fault)
	}
}

func write(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // texts and numbers
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// answer answers what was asked for, with a fault in the body.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, fault Fault) {
	status, body := s.Model.get(r, s.me, fault)
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // texts and numbers
	}
	if fault == OtherVersion {
		for _, field := range []string{"current_severity", "last_observation_change", "is_superuser", "base_url_frontend"} {
			b = bytes.ReplaceAll(b, []byte(field), []byte("x_"+field))
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if fault == Truncated {
		b = b[:len(b)/2]
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	if fault == Cut {
		_, _ = w.Write(b[:len(b)/2])
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(b)
}

// get is one transaction: it answers a request to the API.
func (m *Model) get(r *http.Request, me int64, fault Fault) (int, any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	parts := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, "/api/"), "/"), "/")
	if r.Method != http.MethodGet || len(parts) > 2 {
		return http.StatusNotFound, object{"message": "Not found."}
	}
	lessPrivileged := fault == LessPrivileged
	if len(parts) == 2 {
		o := m.single(parts[0], parts[1], me, lessPrivileged)
		if o == nil {
			return http.StatusNotFound, object{"message": "Not found."}
		}
		if fault == SuperuserLost && parts[0] == "users" {
			o["is_superuser"] = false
		}
		return http.StatusOK, o
	}
	rows, problem := m.list(parts[0], r, lessPrivileged)
	if problem != "" {
		return http.StatusBadRequest, object{"message": problem}
	}
	if rows == nil {
		return http.StatusNotFound, object{"message": "Not found."}
	}
	if fault == SuperuserLost && parts[0] == "users" {
		for i, row := range rows {
			rows[i] = func() object { o := row(); o["is_superuser"] = false; return o }
		}
	}
	if fault == EmptyList {
		rows = []func() object{}
	}
	return page(rows, r, fault)
}

// page cuts a page out of rows. The next page is named by the host that the client asked for.
func page(rows []func() object, r *http.Request, fault Fault) (int, any) {
	q := r.URL.Query()
	size, err := strconv.Atoi(q.Get("page_size"))
	if err != nil || size < 1 {
		size = 25
	}
	number := 1
	if text := q.Get("page"); text != "" {
		if number, err = strconv.Atoi(text); err != nil {
			number = 0
		}
	}
	from := (number - 1) * size
	if number < 1 || from > 0 && from >= len(rows) {
		return http.StatusNotFound, object{"message": "Invalid page."}
	}
	to := min(from+size, len(rows))
	var next any
	if to < len(rows) {
		next = fmt.Sprintf("http://%s%s?page=%d", r.Host, r.URL.Path, number+1)
	}
	shown := rows[from:to]
	if fault == HalfPage {
		shown, next = shown[:len(shown)/2], nil
	}
	results := make([]object, len(shown))
	for i, row := range shown {
		results[i] = row()
	}
	return http.StatusOK, object{"count": len(rows), "next": next, "previous": nil, "results": results}
}

// single returns nil where there is no such object.
func (m *Model) single(kind, name string, me int64, lessPrivileged bool) object {
	if kind == "users" && name == "me" {
		name = strconv.FormatInt(me, 10)
	}
	id, err := strconv.ParseInt(name, 10, 64)
	if err != nil || lessPrivileged && kind != "users" {
		return nil
	}
	switch kind {
	case "users":
		if u := m.users[id]; u != nil {
			o := u.object(false)
			if lessPrivileged {
				o["is_superuser"] = false
			}
			return o
		}
	case "settings":
		return m.settings.object()
	case "products":
		if p := m.products[id]; p != nil {
			return p.object()
		}
	case "product_groups":
		if g := m.groups[id]; g != nil {
			return g.object()
		}
	case "observations":
		if o := m.find(id); o != nil {
			return o.object(m.nested(o.Product), false)
		}
	}
	return nil
}
