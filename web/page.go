package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/web/input"
)

// pagePolicy is the Content-Security-Policy of the pages: what they need is our own, and nothing of it stands in the
// page.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// maxForm is how many bytes a form may have: 250 ids and some texts are far below it.
const maxForm = 1 << 20

// pageTime is how long a page may take: nobody waits longer in front of a database that hangs.
const pageTime = 30 * time.Second

const formMedia = "application/x-www-form-urlencoded"

// pageHandler answers a request of a browser: it calls render or redirect, or returns an error, which failPage shows.
type pageHandler func(w http.ResponseWriter, r *http.Request) error

// view is one page.
type view struct {
	status   int    // 0: 200
	template string // the file in templates, without .html
	title    string // of the window, and what a screen reader says first
	section  string // the entry of the header that it belongs to: inbox, products, deliveries, settings; empty: none
	data     any    // what the template "content" gets
}

// frame is what the template "base" shows around a page.
type frame struct {
	Title   string
	Section string
	User    string // empty: nobody has logged in
	Admin   bool
	Session bool   // there is something to log out of
	Unread  string // how many notifications are not viewed, as the badge says it; empty: none
	Failing int    // targets that fail
	Notice  string
	Content any
}

// page adds a page for callers with access a.
func (s *server) page(mux *http.ServeMux, pattern string, a access, handler pageHandler) {
	mux.Handle(pattern, s.pageFor(a, handler))
}

// pageFor is a page for callers with access a. A caller who has not logged in is sent to do so and comes back.
func (s *server) pageFor(a access, handler pageHandler) http.Handler {
	return s.browser(func(w http.ResponseWriter, r *http.Request) error {
		who, _, err := s.callerOf(r)
		if err != nil {
			return err
		}
		if who == nil {
			s.redirect(w, r, s.loginFor(r))
			return nil
		}
		exchangeOf(r.Context()).caller = who
		if !who.may(a) {
			return forbidden("This page is for administrators only.")
		}
		return handler(w, r)
	})
}

// wantsPage reports whether a browser asks for a page, and no program for an answer.
func wantsPage(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// publicPage adds a page for everybody.
func (s *server) publicPage(mux *http.ServeMux, pattern string, handler pageHandler) {
	mux.Handle(pattern, s.browser(handler))
}

// browser is what all pages have in common: their time, their policy, the check where a form comes from, the session,
// and that errors become pages.
func (s *server) browser(handler pageHandler) http.Handler {
	page := s.sessions.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", pagePolicy)
		// with none at all, browsers hide from us where our own forms come from
		w.Header().Set("Referrer-Policy", "same-origin")
		exchangeOf(r.Context()).begun = true
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		err := s.crossOrigin.Check(r)
		if err != nil {
			err = forbidden("This form was sent from a page of another site. If that was you, " +
				"open the page here and send it again.")
		} else if r.Method == http.MethodPost && r.ContentLength != 0 && mediaType(r) != formMedia {
			err = newProblem(http.StatusUnsupportedMediaType,
				"Pages take forms as "+formMedia+"; programs call what lies below "+apiRoot+".")
		} else if err = r.ParseForm(); err != nil {
			err = brokenForm(err)
		} else {
			err = handler(w, r)
		}
		if err != nil {
			s.failPage(w, r, err)
		}
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), pageTime)
		defer cancel()
		page.ServeHTTP(w, r.WithContext(ctx))
	})
}

// brokenForm says what is wrong with a form that cannot be read.
func brokenForm(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return newProblem(http.StatusRequestEntityTooLarge, "The form is larger than 1 MiB: send less at once.")
	}
	if p := unreadable(err); p != nil {
		return p
	}
	return newProblem(http.StatusBadRequest, "The form or the address is broken: open the page anew.")
}

// render answers with a page. It is made whole before the first byte goes out, so that a fault in it becomes a 500.
func (s *server) render(w http.ResponseWriter, r *http.Request, v view) error {
	f, err := s.frame(r.Context(), v)
	if err != nil {
		return err
	}
	return s.write(w, v, f)
}

func (s *server) write(w http.ResponseWriter, v view, f frame) error {
	var b bytes.Buffer
	if err := s.templates.execute(&b, v.template, f); err != nil {
		return fmt.Errorf("render the page %s: %w", v.template, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(max(v.status, http.StatusOK))
	_, _ = w.Write(b.Bytes()) // a client that has gone needs no answer
	return nil
}

// mostUnread is how many unread notifications the badge counts: nobody reads more of them one by one, and every page
// counts.
const mostUnread = 999

// unreadWords is what the badge says.
func unreadWords(n int) string {
	switch {
	case n == 0:
		return ""
	case n > mostUnread:
		return number(mostUnread) + "+"
	}
	return number(n)
}

func (s *server) frame(ctx context.Context, v view) (frame, error) {
	f := frame{Title: v.title, Section: v.section, Content: v.data}
	who := exchangeOf(ctx).caller
	if who == nil || who.viewer.Ingest {
		return f, nil
	}
	f.User, f.Admin, f.Session = who.viewer.Username, who.viewer.Admin, who.session
	if f.Session {
		f.Notice = s.sessions.PopString(ctx, noticeKey)
	}
	unread, err := dbmodel.UnreadCount(ctx, s.db.Reader, who.viewer, mostUnread+1)
	if err != nil {
		return f, fmt.Errorf("count what is not viewed: %w", err)
	}
	f.Unread = unreadWords(unread)
	if f.Failing, err = dbmodel.FailingCount(ctx, s.db.Reader, who.viewer); err != nil {
		return f, fmt.Errorf("count the targets that fail: %w", err)
	}
	return f, nil
}

// noticeKey is where the session keeps what the next page says.
const noticeKey = "notice"

// notice has the next page say what was done.
func (s *server) notice(ctx context.Context, text string) {
	if exchangeOf(ctx).caller.session { // programs read the status
		s.sessions.Put(ctx, noticeKey, text)
	}
}

// redirect sends the browser to a page of ours after a form was handled.
func (s *server) redirect(w http.ResponseWriter, r *http.Request, path string) {
	http.Redirect(w, r, s.basePath+path, http.StatusSeeOther)
}

// failure is what the page about an error shows.
type failure struct {
	Status int
	Title  string
	Detail string
	Help   string
	Faults []input.Fault
	ID     string // of the request, for the log; of a 5xx
}

// failPage answers with a page that says what went wrong and what to do.
func (s *server) failPage(w http.ResponseWriter, r *http.Request, err error) {
	s.showProblem(w, r, s.fail(r.Context(), err))
}

func (s *server) showProblem(w http.ResponseWriter, r *http.Request, p *problem) {
	f := failure{
		Status: p.Status, Title: p.Title, Detail: p.Detail, Faults: p.Errors, ID: strings.TrimPrefix(p.Instance, requestURN),
	}
	switch {
	case p.Status == http.StatusNotFound:
		f.Title, f.Help = "There is nothing here", cmp.Or(p.help, "It may have been deleted, or you may not see it. "+
			"Somebody who owns the product can make you a member.")
	case p.Status == http.StatusForbidden:
		f.Title, f.Help = "You may not do this", "Nothing was changed. Ask an owner of the product, or an administrator."
	case p.Status == http.StatusServiceUnavailable:
		f.Title, f.Help = "The database does not answer", "Wait a moment and load the page again. What was accepted is kept."
	case p.Status >= http.StatusInternalServerError:
		f.Title, f.Help = "Something went wrong here",
			"Try again. If it stays, give an administrator the number below: the log says more."
	case p.Status == http.StatusUnprocessableEntity:
		f.Title, f.Help = "That cannot be used", "Nothing was changed. Go back and correct what is named here."
	default:
		f.Help = "Nothing was changed."
	}
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	v := view{status: p.Status, template: "error", title: f.Title, data: f}
	if p.Status < http.StatusInternalServerError {
		err := s.render(w, r, v)
		if err == nil {
			return
		}
		s.log.Error().Err(err).Msg("render the page of an error")
	}
	// What failed may be what the frame needs: only names are shown.
	bare := frame{Title: v.title, Content: v.data}
	if who := exchangeOf(r.Context()).caller; who != nil {
		bare.User, bare.Admin, bare.Session = who.viewer.Username, who.viewer.Admin, who.session
	}
	if err := s.write(w, v, bare); err != nil {
		refuse(w, p)
	}
}

// unknownPage answers for an address that is nothing: with a page for browsers, else as the API does.
func (s *server) unknownPage(otherwise http.HandlerFunc) http.Handler {
	page := s.browser(func(_ http.ResponseWriter, r *http.Request) error {
		who, _, err := s.callerOf(r)
		if err != nil {
			return err
		}
		exchangeOf(r.Context()).caller = who
		return notFound("page")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wantsPage(r) {
			page.ServeHTTP(w, r)
			return
		}
		otherwise(w, r)
	})
}

// idInPath returns the number that stands for {id} in the address of a page. What cannot be an id is nothing: 404.
func idInPath(r *http.Request, what string) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 || strconv.FormatInt(id, 10) != r.PathValue("id") {
		return 0, notFound(what)
	}
	return id, nil
}

// loginFor is the address of the login, from which the browser comes back to what was asked for: the page, or that
// with the form, which must be sent again.
func (s *server) loginFor(r *http.Request) string {
	if r.Method != http.MethodPost {
		return withQuery(loginPath, "next", r.URL.RequestURI())
	}
	next := ""
	if from, err := url.Parse(r.Referer()); err == nil && from.Host != "" {
		next = localPath(strings.TrimPrefix(from.RequestURI(), s.basePath))
	}
	return withQuery(loginPath, "next", next, "unsaved", "yes")
}

// localPath returns path where it is one of ours, else "/": nobody is led elsewhere after logging in.
func localPath(path string) string {
	const longest = 2000 // bytes: a cookie keeps it on the way to a provider
	u, err := url.Parse(path)
	if err != nil || len(path) > longest || u.Scheme != "" || u.Host != "" || u.Opaque != "" ||
		!strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") ||
		strings.ContainsAny(path, "\\\x00\r\n\t") || strings.HasPrefix(path, loginPath) {
		return "/"
	}
	return path
}
