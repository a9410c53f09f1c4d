package demo

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// perPage is how many messages one page shows.
const perPage = 50

//go:embed static
var staticFiles embed.FS

//go:embed page.html.tmpl
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// policy lets nothing run but the page's own script, whatever a message brings; mail needs its own styles.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; " +
	"img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

type page struct {
	Tabs     []tab
	Messages []message
	Kind     string
	Older    int  // the id to go on from; 0: none
	Newest   bool // nothing newer is left out, so that new ones may be put on top
}

type tab struct {
	Kind, Name string
	Count      int
	Current    bool
}

// showPage answers with the messages of ?kind=, those before ?before=, newest first.
func (r *Receiver) showPage(w http.ResponseWriter, req *http.Request) {
	kind := req.FormValue("kind")
	if !slices.Contains([]string{kindMail, kindTeams, kindSlack}, kind) {
		kind = ""
	}
	before, err := strconv.Atoi(req.FormValue("before"))
	if err != nil {
		before = 0
	}
	list, older, counts := r.box.find(kind, before, perPage)
	p := page{Messages: list, Kind: kind, Newest: before <= 0}
	if older {
		p.Older = list[len(list)-1].ID
	}
	p.Tabs = []tab{{Name: "All", Count: counts[kindMail] + counts[kindTeams] + counts[kindSlack]}}
	kinds := []tab{{Kind: kindMail, Name: "Email"}, {Kind: kindTeams, Name: "Teams"}, {Kind: kindSlack, Name: "Slack"}}
	for _, t := range kinds {
		t.Count = counts[t.Kind]
		p.Tabs = append(p.Tabs, t)
	}
	for i := range p.Tabs {
		p.Tabs[i].Current = p.Tabs[i].Kind == kind
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		answer(w, http.StatusInternalServerError, "The page could not be written.")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes()) // the client may have gone
}

// Framed is the mail's HTML for a frame: its links open a tab of their own.
func (m message) Framed() string {
	const base = `<base target="_blank">`
	if head, rest, found := strings.Cut(m.HTML, "<head>"); found {
		return head + "<head>" + base + rest
	}
	return base + m.HTML
}
