package fakesecobserve

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
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

// list returns the rows of a list in the order that was asked for; nil where there is no such list.
func (m *Model) list(kind string, r *http.Request, lessPrivileged bool) (rows []func() object, problem string) {
	rows = []func() object{}
	if lessPrivileged {
		if kind == "users" {
			u := m.users[slices.Sorted(maps.Keys(m.users))[0]]
			rows = append(rows, func() object { o := u.object(true); o["is_superuser"] = false; return o })
		}
		return rows, ""
	}
	switch kind {
	case "users":
		return sorted(m.users, func(u *User) object { return u.object(true) }), ""
	case "products":
		return sorted(m.products, (*Product).object), ""
	case "product_groups":
		return sorted(m.groups, (*Group).object), ""
	case "product_members":
		return sorted(m.members, m.member), ""
	case "product_authorization_group_members":
		return sorted(m.byGroup, func(r *Member) object {
			return object{
				"id": r.ID, "product": r.Product, "authorization_group": r.User, "role": r.Role,
				"product_data": m.nested(r.Product),
			}
		}), ""
	case "authorization_group_members":
		return sorted(m.inGroups, func(r *Member) object {
			return object{
				"id": r.ID, "authorization_group": r.Product, "user": r.User, "is_manager": false,
				"user_data": m.users[r.User].object(true),
			}
		}), ""
	case "observations", "observation_titles":
		return m.observations(kind == "observation_titles", r)
	case "observation_logs":
		return m.approvals(r)
	}
	return nil, ""
}

func sorted[T any](table map[int64]T, show func(T) object) []func() object {
	rows := make([]func() object, 0, len(table))
	for _, id := range slices.Sorted(maps.Keys(table)) {
		rows = append(rows, func() object { return show(table[id]) })
	}
	return rows
}

// since returns the beginning of a span of whole days, as the filter age has it.
func (m *Model) since(age string) (time.Time, bool) {
	days, found := map[string]int{
		"": 1_000_000, "Today": 0, "Past 7 days": 7, "Past 30 days": 30, "Past 90 days": 90, "Past 365 days": 365,
	}[age]
	if days == 1_000_000 {
		return time.Time{}, true
	}
	y, month, day := m.clock.UTC().Date()
	return time.Date(y, month, day-days, 0, 0, 0, 0, time.UTC), found
}

func (m *Model) observations(titles bool, r *http.Request) (rows []func() object, problem string) {
	q := r.URL.Query()
	since, ok := m.since(q.Get("age"))
	if !ok {
		return nil, "age: not one of the available choices."
	}
	var product int64
	if text := q.Get("product"); text != "" {
		var err error
		if product, err = strconv.ParseInt(text, 10, 64); err != nil || m.products[product] == nil {
			return nil, "product: Select a valid choice."
		}
	}
	list := make([]*Observation, 0, len(m.rows))
	for _, o := range m.rows {
		if (product == 0 || o.Product == product) && !o.LastLog.Before(since) {
			list = append(list, o)
		}
	}
	switch q.Get("ordering") {
	case "-last_observation_log":
		slices.SortStableFunc(list, func(a, b *Observation) int { return b.LastLog.Compare(a.LastLog) })
	case "last_observation_log":
		slices.SortStableFunc(list, func(a, b *Observation) int { return a.LastLog.Compare(b.LastLog) })
	case "-id":
		slices.Reverse(list)
	}
	nested := map[int64]object{}
	for _, o := range list {
		if nested[o.Product] == nil {
			nested[o.Product] = m.nested(o.Product)
		}
		rows = append(rows, func() object {
			if titles {
				return object{"id": o.ID, "title": o.Title}
			}
			return o.object(nested[o.Product], true)
		})
	}
	if rows == nil {
		rows = []func() object{}
	}
	return rows, ""
}

// approvals lists logs; NULLs are first in descending order, as PostgreSQL has it.
func (m *Model) approvals(r *http.Request) (rows []func() object, problem string) {
	q := r.URL.Query()
	wanted := q.Get("assessment_status")
	if !slices.Contains([]string{"", "Approved", "Rejected", "Needs approval", "Auto approved", "Removed"}, wanted) {
		return nil, "assessment_status: not one of the available choices."
	}
	logs := slices.Clone(m.logs)
	logs = slices.DeleteFunc(logs, func(l *logEntry) bool { return wanted != "" && l.status != wanted })
	if q.Get("ordering") == "-approval_date" {
		slices.SortStableFunc(logs, func(a, b *logEntry) int {
			if a.approved == nil || b.approved == nil {
				first := map[bool]int{true: 0, false: 1}
				return cmp.Compare(first[a.approved == nil], first[b.approved == nil])
			}
			return b.approved.Compare(*a.approved)
		})
	}
	rows = make([]func() object, 0, len(logs))
	for _, l := range logs {
		rows = append(rows, func() object {
			o := m.find(l.observation)
			return l.object(o, m.nested(o.Product))
		})
	}
	return rows, ""
}
