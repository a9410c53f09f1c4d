package web_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// hostile are titles that must stay texts.
var hostile = []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `{{.}} ${7*7} '; DROP TABLE users; --`, "\u202eevil\u202c"}

// observed makes a notification of an observation with this title in a product that is there.
func (e *env) observed(product int64, title string, event rule.Event, severity rule.Severity, targets ...int64) {
	e.t.Helper()
	n := dbmodel.NewNotification{
		Notification: dbmodel.Notification{
			Type: rule.TypeObservation, Event: event, Name: title, ProductID: &product,
			Facts: dbmodel.Facts{ProductName: fmt.Sprintf("product %d", product), ProductGroupName: "Payments", ObservationTitle: title},
		}, Targets: targets,
	}
	var before *rule.Values
	if event == rule.EventChanged {
		before = &rule.Values{Severity: rule.Low, Status: rule.Open}
	}
	n.SetValues(before, &rule.Values{Severity: severity, Status: rule.Affected, Priority: new(3)})
	e.notify(n)
}

// lines are the names in the list, from the top.
func (s *sheet) lines() (names []string) {
	for _, list := range s.all("ol") {
		for _, li := range within(list, "li") {
			for _, b := range within(li, "b") {
				names = append(names, textOf(b))
			}
		}
	}
	return names
}

func (s *sheet) wantLines(names ...string) {
	s.t.Helper()
	if got := s.lines(); strings.Join(got, "|") != strings.Join(names, "|") {
		s.t.Errorf("%s lists %q instead of %q", s.path, got, names)
	}
}

// hasScripts reports whether anything in the page would run, or was made by what others wrote.
func (s *sheet) hasScripts() bool {
	for _, script := range s.all("script") {
		if !strings.HasPrefix(attr(script, "src"), "/static/") || script.FirstChild != nil {
			return true
		}
	}
	for n := range s.root.Descendants() {
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || strings.HasPrefix(a.Val, "javascript:") {
				return true
			}
		}
	}
	return len(s.all("img")) > 0
}

func TestInbox(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("root", true)
		e.product(1)
		e.product(2)
		e.observed(1, "first", rule.EventNew, rule.Critical)
		e.observed(2, "second", rule.EventChanged, rule.High)
		e.notify(dbmodel.NewNotification{Notification: dbmodel.Notification{Type: rule.TypeTask, Name: "ValueError", Function: "import", Username: "alex", Suppressed: 24}})
		v := e.visitor("root")
		s := v.open("/")
		s.wantLines("import: ValueError", "second", "first")
		s.says("Critical", "Changed", "second Low → High, Open → Affected, priority none → 3", "×25", "Payments · product 1", "not viewed only")
		if title := textOf(s.all("title")[0]); title != "(3) Inbox · Tocsin" {
			t.Errorf("the title is %q", title)
		}
		for filter, names := range map[string][]string{
			"type=task": {"import: ValueError"}, "event=changed": {"second"}, "product_id=1": {"first"}, "user=alex": {"import: ValueError"},
			"q=FIR": {"first"}, "until=2020-01-01": nil, "since=2020-01-01&until=2100-01-01": {"import: ValueError", "second", "first"},
			"type=task&event=new": nil, "viewed=true": nil, "q=%25": nil, "type=rubbish": {"import: ValueError", "second", "first"},
		} {
			v.open("/?" + filter).wantLines(names...)
		}
		s = v.send(s, "Filter", url.Values{"q": {"sec"}, "type": {"observation"}})
		s.wantLines("second")
		if got := s.value("q"); got != "sec" {
			t.Errorf("the form holds %q", got)
		}
		// One is marked by its button, what is ticked by that above, all at once by the last.
		s = v.ask("POST", "/notifications/viewed", url.Values{"one": {s.id("second")}, "next": {"/"}})
		s.says("1 notification is marked as viewed")
		s.wantLines("import: ValueError", "first")
		e.observed(1, "third", rule.EventDropped, rule.Medium)
		s = v.ask("POST", "/notifications/viewed", url.Values{"until": {s.until()}, "next": {"/"}})
		s.wantLines("third")
		v.open("/?viewed=all").wantLines("third", "import: ValueError", "second", "first")
		v.open("/?viewed=true").wantLines("import: ValueError", "second", "first")
		s = v.ask("POST", "/notifications/viewed", url.Values{"until": {v.open("/").until()}, "next": {"/"}})
		s.says("Everything up to now is marked as viewed", "you have viewed everything")
	})
}

// id is the number of the line with this name.
func (s *sheet) id(name string) string {
	s.t.Helper()
	for _, li := range s.all("li") {
		for _, b := range within(li, "b") {
			if textOf(b) == name {
				return attr(li, "data-id")
			}
		}
	}
	s.t.Fatalf("%s has no line %q", s.path, name)
	return ""
}

// until is when the page was made, as its form for all of them says.
func (s *sheet) until() string {
	s.t.Helper()
	for _, form := range s.all("form") {
		if attr(form, "id") == "all" {
			return formValues(form).Get("until")
		}
	}
	s.t.Fatalf("%s has no form for all", s.path)
	return ""
}

// Pages follow one another without a line that is lost or comes twice, whatever arrives meanwhile.
func TestInboxPages(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("root", true)
		e.product(1)
		var list []dbmodel.NewNotification
		for i := range 120 {
			list = append(list, dbmodel.NewNotification{Notification: dbmodel.Notification{
				Type: rule.TypeObservation, Event: rule.EventNew, Name: fmt.Sprintf("t%03d", i), ProductID: new(int64(1)),
				AfterSeverity: rule.High, AfterStatus: rule.Open,
			}})
		}
		e.notify(list...)
		v := e.visitor("root")
		s, seen := v.open("/?event=new"), 0
		for page := range 3 {
			for _, name := range s.lines() {
				if want := fmt.Sprintf("t%03d", 119-seen); name != want {
					t.Fatalf("page %d has %s instead of %s", page, name, want)
				}
				seen++
			}
			if page < 2 {
				e.observed(1, "late", rule.EventNew, rule.Low)
				s = v.follow(s, "Older")
			}
		}
		if seen != 120 {
			t.Errorf("%d lines", seen)
		}
		v.follow(s, "Newest").says("late")
	})
}

func TestDeleteAsksFirst(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("owner", false)
		e.product(1)
		e.product(2)
		e.member(dbmodel.InProduct(1), "owner", rule.Owner)
		e.member(dbmodel.InProduct(2), "owner", rule.Reader)
		for _, p := range []int64{1, 1, 2} {
			e.notify(dbmodel.NewNotification{Notification: dbmodel.Notification{
				Type: rule.TypeSecurityGate, Event: rule.EventFailed, Name: "gate", ProductID: &p, Facts: dbmodel.Facts{ProductName: fmt.Sprintf("product %d", p)},
			}})
		}
		v := e.visitor("owner")
		s := v.open("/")
		ids := url.Values{"next": {"/"}}
		for _, li := range s.all("li") {
			ids.Add("id", attr(li, "data-id"))
		}
		s = v.ask("POST", "/notifications/delete", ids)
		s.says("Delete these 2 notifications?", "One of the selected ones stays", "product 1")
		s.saysNot("product 2")
		if got := len(v.open("/").lines()); got != 3 {
			t.Fatalf("%d lines are left before anybody said yes", got)
		}
		v.send(s, "Delete for everyone", url.Values{"id": {"1", "2", "99"}}).says("2 notifications are deleted", "product 2")
	})
}

// What others wrote is text on every page.
func TestHostileTitles(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.user("root", true)
	e.product(1)
	for _, title := range hostile {
		e.observed(1, title, rule.EventNew, rule.High)
		e.notify(dbmodel.NewNotification{Notification: dbmodel.Notification{
			Type: rule.TypeException, Name: title, Function: title, Username: title, Message: title, Trace: title, Arguments: []byte(`{"a":"</pre><script>"}`),
		}})
	}
	v := e.visitor("root")
	s := v.open("/")
	if s.hasScripts() {
		t.Error("the inbox has a script in it")
	}
	for _, li := range s.all("li") {
		page := v.open("/notifications/" + attr(li, "data-id"))
		if page.hasScripts() {
			t.Errorf("%s has a script in it: %s", page.path, page.source)
		}
	}
	for _, title := range hostile {
		s.says(strings.Join(strings.Fields(title), " "))
		if v.open("/?q=" + url.QueryEscape(title)).hasScripts() {
			t.Errorf("the search for %s", title)
		}
	}
	for _, path := range []string{"/<script>alert(1)</script>", "/notifications/<img src=x>", "/login?next=" + url.QueryEscape(`"><script>`)} {
		if v.ask("GET", (&url.URL{Path: path}).EscapedPath(), nil).hasScripts() {
			t.Errorf("%s has a script in it", path)
		}
	}
}

func TestEmptyInbox(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.user("root", true)
	e.user("alex", false)
	e.visitor("root").open("/").says("There are no products yet")
	e.visitor("alex").open("/").says("You are a member of no product yet")
	e.product(1)
	e.member(dbmodel.InProduct(1), "alex", rule.Reader)
	const sight = "Of notifications, members see security gates and background tasks here, but no observations: administrators choose the types in the settings."
	e.visitor("alex").open("/").says("Nothing has happened yet that you may see", sight)
	e.observed(1, "hidden", rule.EventNew, rule.High)
	hidden := e.want(404, "GET", fmt.Sprintf("%s/%d", inboxPath, e.idOf("hidden")), nil, e.as("alex")...)
	missing := e.want(404, "GET", inboxPath+"/99999", nil, e.as("alex")...)
	if hidden.text != missing.text || !strings.Contains(hidden.text, sight) {
		t.Errorf("hidden: %s, missing: %s", hidden.text, missing.text)
	}
	if r := e.visitor("alex").ask("GET", "/notifications/99999", nil); r.status != 404 || !strings.Contains(r.text(), sight) {
		t.Errorf("page: %d %s", r.status, r.text())
	}
	e.exec("DELETE FROM notifications")
	e.visitor("root").open("/products/1").says("Add, or change the role", sight)
	e.visitor("root").open("/settings").says(sight)
	s := e.visitor("root").open("/")
	s.says("Nothing has happened yet", "1 product has no target for notifications: set one")
	e.visitor("root").follow(s, "set one").says("product 1")
	e.want(200, "PUT", "/api/v1/products/1", `{"notification_email_to":"a@example.com"}`)
	e.visitor("root").open("/").saysNot("no target")
	e.visitor("root").open("/?q=x").says("Nothing that is not viewed fits this filter")
}

func TestErrorPages(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.user("alex", false)
	v := e.visitor("alex")
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/nothing":          {404, "There is nothing here"},
		"/notifications/99": {404, "you may not see it"},
		"/notifications/x":  {404, "There is nothing here"},
		"/settings":         {403, "You may not do this"},
		"/?cursor=broken":   {422, "That cannot be used"},
		"/?since=rubbish":   {422, "That cannot be used"},
	} {
		s := v.ask("GET", path, nil)
		if s.status != want.status {
			t.Errorf("%s is answered %d", path, s.status)
		}
		s.says(want.text, "To the inbox")
		if n := countByAttr(s.root, "class", "brand"); n != 1 {
			t.Errorf("%s has no header", path)
		}
	}
	e.db.Close()
	if s := v.ask("GET", "/nothing", nil); s.status != 503 {
		t.Errorf("without a database it is answered %d", s.status)
	} else {
		s.says("The database does not answer", "Number of the request")
	}
}

func countByAttr(root *html.Node, name, value string) (n int) {
	for d := range root.Descendants() {
		if attr(d, name) == value {
			n++
		}
	}
	return n
}

// However long titles and names are, a page of the inbox stays light, and says all of them on their own pages.
func TestInboxIsLight(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.user("root", true)
	long := strings.Repeat("long & wide ", 20)
	for i := range int64(120) {
		e.want(200, "PUT", fmt.Sprintf("/api/v1/products/%d", i+1), map[string]any{"name": fmt.Sprintf("%d %s", i, long[:240])})
	}
	for i := range 60 {
		n := about(fmt.Sprintf("%d %s", i, strings.Repeat(long, 8)), rule.TypeObservation, 1)
		n.Event, n.Facts = rule.EventChanged, dbmodel.Facts{ProductName: long, ProductGroupName: long}
		n.SetValues(&rule.Values{Severity: rule.Low, Status: rule.Open}, &rule.Values{Severity: rule.Critical, Status: rule.FalsePositive, Priority: new(3)})
		e.notify(n)
	}
	v := e.visitor("root")
	s := v.open("/") // fails where it is too heavy
	if got := s.lines(); len(got) != 50 || !strings.HasSuffix(got[0], "…") {
		t.Errorf("%d lines, first %q", len(got), got[0])
	}
	v.follow(s, "59 long").says(strings.TrimSpace(long))
}
