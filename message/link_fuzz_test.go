package message

import (
	"net/url"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// FuzzLink: whatever an observation is called, the link about it leads to the host of the setting, and the title stays
// one text wherever the setting puts it.
func FuzzLink(f *testing.F) {
	for _, template := range []string{
		"https://app.example/#/observations?title={title}", "https://app.example/{title}/{id}", "https://app.example?{title}", "http://app.example:8080/x?a={id}&t={title}#{title}", "{title}", "https://", "httP://{title}",
	} {
		for _, title := range []string{"CVE-2026-1234", "a/b?c&d=e#f {id}%20\"é+~", "@evil.example/", "../..", "{title}{title}", "\xff\x00\u202e", ".evil.example", strings.Repeat("é", 400)} {
			f.Add(template, title)
		}
	}
	f.Fuzz(func(t *testing.T, template, title string) {
		n := aboutTitle(rule.EventNew, 2, nil, values(rule.High, rule.Open))
		n.Name = title
		got := builder(func(s *dbmodel.Settings) { s.ObservationTitleURL = template }).action(n)
		link, ok := channel.WebLink(got.URL)
		if !ok {
			t.Fatalf("%q with %q: %q is no link", template, title, got.URL)
		}
		before, after, found := strings.Cut(template, "{title}")
		_, path, _ := strings.Cut(before, "://")
		if !found || strings.Contains(after, "{") || !strings.ContainsAny(path, "/?#") || got.URL == "https://tocsin.example/notifications/99" {
			return // settings refuse one whose host has a placeholder
		}
		want, errWant := url.Parse(before)
		u, err := url.Parse(link)
		if err != nil || errWant == nil && u.Host != want.Host {
			t.Errorf("%q with %q leads to %q", template, title, link)
		}
		if said := strings.TrimSuffix(strings.TrimPrefix(got.URL, before), after); said != encode(title) {
			t.Errorf("%q with %q says %q", template, title, said)
		}
		if read, err := url.PathUnescape(encode(title)); err != nil || read != title {
			t.Errorf("%q is read as %q", title, read)
		}
	})
}
