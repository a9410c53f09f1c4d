package web_test

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"golang.org/x/net/html"

	"github.com/seed91453169/tocsin/dbmodel"
)

// visitor is somebody with a browser that runs no scripts: it opens pages, follows links and sends forms as they stand there.
type visitor struct {
	e      *env
	cookie string
	at     string // the page whose form is sent
}

// visitor logs a user in.
func (e *env) visitor(name string) *visitor {
	e.t.Helper()
	u, err := dbmodel.UserByName(e.t.Context(), e.db, name)
	if err != nil {
		e.t.Fatal(err)
	}
	token, expires := rand.Text(), time.Now().Add(time.Hour)
	data, err := scs.GobCodec{}.Encode(expires, map[string]any{})
	if err == nil {
		err = dbmodel.AddSession(e.t.Context(), e.db, dbmodel.NewSession{UserID: u.ID}, token, data, expires)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return &visitor{e: e, cookie: "__Host-tocsin_session=" + token}
}

// sheet is a page that a visitor sees.
type sheet struct {
	t      testing.TB
	path   string
	status int
	source string
	root   *html.Node
}

func (v *visitor) open(path string) *sheet {
	v.e.t.Helper()
	s := v.ask(http.MethodGet, path, nil)
	if s.status != http.StatusOK {
		v.e.t.Fatalf("%s answered %d: %s\n%s", path, s.status, s.text(), v.e.log)
	}
	return s
}

// ask makes a request and follows redirects within the site.
func (v *visitor) ask(method, path string, form url.Values) *sheet {
	v.e.t.Helper()
	path, _, _ = strings.Cut(path, "#")
	req, err := http.NewRequestWithContext(v.e.t.Context(), method, v.e.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.e.t.Fatal(err)
	}
	req.Header.Set("Cookie", v.cookie)
	req.Header.Set("Accept", "text/html")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Referer", v.e.server.URL+v.at)
	}
	res, err := v.e.client.Do(req)
	if err != nil {
		v.e.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		v.e.t.Fatal(err)
	}
	for _, secret := range secrets {
		if strings.Contains(string(text), secret) {
			v.e.t.Errorf("%s %s: the page repeats a secret", method, path)
		}
	}
	if to := res.Header.Get("Location"); res.StatusCode == http.StatusSeeOther {
		if !strings.HasPrefix(to, "/") {
			v.e.t.Fatalf("%s %s leads to %s", method, path, to)
		}
		return v.ask(http.MethodGet, to, nil)
	}
	root, err := html.Parse(strings.NewReader(string(text)))
	if err != nil {
		v.e.t.Fatal(err)
	}
	const most = 60 << 10
	if len(text) > most {
		v.e.t.Errorf("%s weighs %d bytes", path, len(text))
	}
	return &sheet{v.e.t, path, res.StatusCode, string(text), root}
}

// follow opens the first link whose text contains words.
func (v *visitor) follow(s *sheet, words string) *sheet {
	v.e.t.Helper()
	for _, a := range s.all("a") {
		if strings.Contains(textOf(a), words) {
			return v.open(attr(a, "href"))
		}
	}
	v.e.t.Fatalf("%s has no link %q: %s", s.path, words, s.text())
	return nil
}

// send fills fields of the form in which there is a button with this text, and presses it. What is not filled in goes as it
// stands there. An empty list unchecks boxes.
func (v *visitor) send(s *sheet, button string, fields url.Values) *sheet {
	v.e.t.Helper()
	for _, form := range s.all("form") {
		for _, b := range within(form, "button") {
			if !strings.HasPrefix(textOf(b), button) {
				continue
			}
			values := formValues(form)
			if name := attr(b, "name"); name != "" {
				values.Add(name, attr(b, "value"))
			}
			for name, texts := range fields {
				if !controls(form, name) {
					v.e.t.Fatalf("the form %q of %s has no field %s", button, s.path, name)
				}
				values[name] = texts
			}
			if attr(form, "method") != "post" {
				return v.open(strings.Split(s.path, "?")[0] + "?" + values.Encode())
			}
			v.at = s.path
			return v.ask(http.MethodPost, attr(form, "action"), values)
		}
	}
	v.e.t.Fatalf("%s has no button %q: %s", s.path, button, s.text())
	return nil
}

// formValues are what a browser sends of a form that nobody touched.
func formValues(form *html.Node) url.Values {
	values := url.Values{}
	for _, c := range within(form, "input") {
		kind := attr(c, "type")
		if name := attr(c, "name"); name != "" && (kind != "checkbox" || has(c, "checked")) {
			values.Add(name, attr(c, "value"))
		}
	}
	for _, c := range within(form, "select") {
		chosen := ""
		for i, o := range within(c, "option") {
			value := attr(o, "value")
			if !has(o, "value") {
				value = textOf(o)
			}
			if i == 0 || has(o, "selected") {
				chosen = value
			}
		}
		values.Add(attr(c, "name"), chosen)
	}
	return values
}

func controls(form *html.Node, name string) bool {
	for _, tag := range []string{"input", "select"} {
		for _, c := range within(form, tag) {
			if attr(c, "name") == name {
				return true
			}
		}
	}
	return false
}

// all are the elements with this tag.
func (s *sheet) all(tag string) []*html.Node { return within(s.root, tag) }

// text is what the page says below its header.
func (s *sheet) text() string {
	for _, m := range s.all("main") {
		return textOf(m)
	}
	return textOf(s.root)
}

// says fails the test where the page does not say all of it.
func (s *sheet) says(words ...string) {
	s.t.Helper()
	for _, w := range words {
		if !strings.Contains(s.text(), w) {
			s.t.Errorf("%s does not say %q: %s", s.path, w, s.text())
		}
	}
}

func (s *sheet) saysNot(words ...string) {
	s.t.Helper()
	for _, w := range words {
		if strings.Contains(s.text(), w) {
			s.t.Errorf("%s says %q: %s", s.path, w, s.text())
		}
	}
}

// field is what the page says about a field of a form.
func (s *sheet) field(id string) string {
	s.t.Helper()
	for n := range s.root.Descendants() {
		if attr(n, "id") == id {
			return textOf(n)
		}
	}
	s.t.Fatalf("%s has no #%s", s.path, id)
	return ""
}

// value is what stands in an input.
func (s *sheet) value(name string) string {
	s.t.Helper()
	for _, form := range s.all("form") {
		if controls(form, name) {
			return strings.Join(formValues(form)[name], "|")
		}
	}
	s.t.Fatalf("%s has no field %s", s.path, name)
	return ""
}

func within(n *html.Node, tag string) (found []*html.Node) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == tag {
			found = append(found, d)
		}
	}
	return found
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}
