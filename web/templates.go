package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/channel"
)

//go:embed templates static
var pageFiles embed.FS

// templates are all pages, each with the base around it.
type templates map[string]*template.Template

// newTemplates parses the pages. base.html is around each of them; parts.html and forms.html hold what several of them
// use.
func newTemplates(basePath string) templates {
	shared := template.Must(template.New("").Funcs(template.FuncMap{
		"path":     func(p string) string { return basePath + p },
		"asset":    func(name string) string { return basePath + assetPath(name) },
		"ago":      ago,
		"exact":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"iso":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"lower":    strings.ToLower,
		"most":     func() int { return mostUnread },
		"number":   number,
		"severity": severityClass,
		"channel":  channelName,
		"gate":     gateWord,
		"event":    eventWords,
		"weblink":  func(text string) bool { _, ok := channel.WebLink(text); return ok },
	}).ParseFS(pageFiles, "templates/base.html", "templates/parts.html", "templates/forms.html"))
	files, err := fs.Glob(pageFiles, "templates/*.html")
	if err != nil {
		panic(fmt.Sprintf("web: templates: %v", err)) // the pattern is the same in every process
	}
	all := templates{}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "base" || name == "parts" || name == "forms" {
			continue
		}
		all[name] = template.Must(template.Must(shared.Clone()).ParseFS(pageFiles, file))
	}
	return all
}

func (t templates) execute(w io.Writer, name string, f frame) error {
	page, found := t[name]
	if !found {
		return fmt.Errorf("there is no template %s", name)
	}
	return page.ExecuteTemplate(w, "base", f)
}

// assetPath is the address of a file in static. It names the contents, so that a browser may keep them for ever.
func assetPath(name string) string {
	b, err := pageFiles.ReadFile("static/" + name)
	if err != nil {
		panic(fmt.Sprintf("web: %v", err)) // templates name what is embedded
	}
	hash := sha256.Sum256(b)
	return "/static/" + name + "?v=" + hex.EncodeToString(hash[:6])
}

// showStatic serves the files in static.
func showStatic(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	b, err := pageFiles.ReadFile("static/" + name)
	if err != nil {
		refuse(w, notFound("file"))
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	// Another process may be of another version, and asked for these contents or others.
	if r.URL.RequestURI() == assetPath(name) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, name, time.Time{}, strings.NewReader(string(b)))
}
