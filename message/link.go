package message

import (
	"strconv"
	"strings"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// action links to the page that the settings name for n or, where they name none, to its page in Tocsin.
func (b Builder) action(n *dbmodel.Notification) channel.Link {
	own := channel.Link{Label: "Open in Tocsin", URL: b.page("notifications/" + strconv.FormatInt(n.ID, 10))}
	var label, template string
	var id *int64
	switch n.Type {
	case rule.TypeObservation:
		label, template, id = "Open observation", b.Settings.ObservationURL, n.ObservationID
	case rule.TypeObservationTitle: // a title has no id: where the template has {id}, the link goes to Tocsin
		label, template = "Open observations", b.Settings.ObservationTitleURL
	case rule.TypeSecurityGate:
		label, template, id = "Open product", b.Settings.ProductURL, n.ProductID
	default:
		return own
	}
	if template == "" || id == nil && strings.Contains(template, "{id}") {
		return own
	}
	number := ""
	if id != nil {
		number = strconv.FormatInt(*id, 10)
	}
	url := strings.NewReplacer("{id}", number, "{title}", encode(n.Name)).Replace(template)
	if _, ok := channel.WebLink(url); !ok { // a title can be too long for a link
		return own
	}
	return channel.Link{Label: label, URL: url}
}

// page returns the URL of one of Tocsin's own pages.
func (b Builder) page(path string) string {
	return strings.TrimRight(b.BaseURL, "/") + "/" + path
}

// encode percent-encodes everything but unreserved characters (https://www.rfc-editor.org/rfc/rfc3986#section-2.3), so
// that s keeps its meaning in the path, the query and the fragment of a URL.
func encode(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}
