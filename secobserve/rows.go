package secobserve

import (
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Rows as the API of SecObserve shows them, with the fields that the connector needs.

// field is a value that has to be there; null is the zero value.
type field[T any] struct {
	there bool
	V     T
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (f *field[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	f.there = true
	if d.PeekKind() == 'n' {
		return d.SkipValue()
	}
	return json.UnmarshalDecode(d, &f.V)
}

// given is a field whatever its type.
type given interface{ isThere() bool }

func (f *field[T]) isThere() bool { return f.there }

// needed is a field with its name.
type needed struct {
	name  string
	field given
}

// firstMissing names the first field that is not there.
func firstMissing(fields ...needed) string {
	for _, f := range fields {
		if !f.field.isThere() {
			return f.name
		}
	}
	return ""
}

// words are texts: a list, or one text with commas between them.
type words []string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (w *words) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '"' {
		return json.UnmarshalDecode(d, (*[]string)(w))
	}
	var text string
	err := json.UnmarshalDecode(d, &text)
	*w = splitList(text)
	return err
}

// decimal is a number that comes as a text, as a number or as null; it is empty for null.
type decimal string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (n *decimal) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch d.PeekKind() {
	case 'n':
		return d.SkipValue()
	case '"':
		return json.UnmarshalDecode(d, (*string)(n))
	default:
		v, err := d.ReadValue()
		*n = decimal(v)
		return err
	}
}

// notification are the settings that products, product groups and the installation have.
type notification struct {
	EmailTo     field[string] `json:"notification_email_to"`
	Teams       field[string] `json:"notification_ms_teams_webhook"`
	Slack       field[string] `json:"notification_slack_webhook"`
	MinSeverity field[string] `json:"observation_notification_min_severity"`
	Statuses    field[words]  `json:"observation_notification_status_list"`
	MinPriority field[*int]   `json:"observation_notification_min_priority"`
}

func (n *notification) fields() []needed {
	return []needed{
		{"notification_email_to", &n.EmailTo},
		{"notification_ms_teams_webhook", &n.Teams},
		{"notification_slack_webhook", &n.Slack},
		{"observation_notification_min_severity", &n.MinSeverity},
		{"observation_notification_status_list", &n.Statuses},
		{"observation_notification_min_priority", &n.MinPriority},
	}
}

// named is what products and product groups have in common.
type named struct {
	ID   field[int64]  `json:"id"`
	Name field[string] `json:"name"`
}

func (n *named) identity() int64 { return n.ID.V }

// group is a product group.
type group struct {
	named
	notification
}

func (g *group) missing() string {
	return firstMissing(append(g.fields(), needed{"id", &g.ID}, needed{"name", &g.Name})...)
}

// product is a product.
type product struct {
	named
	notification
	Group      field[*int64]    `json:"product_group"`
	Gate       field[*bool]     `json:"security_gate_passed"`
	LastChange field[time.Time] `json:"last_observation_change"`
}

func (p *product) missing() string {
	return firstMissing(append(p.fields(), needed{"id", &p.ID}, needed{"name", &p.Name}, needed{
		"product_group",
		&p.Group,
	},
		needed{"security_gate_passed", &p.Gate}, needed{"last_observation_change", &p.LastChange})...)
}

// user is a user. A token that may not see everything gets neither the email address nor is_superuser.
type user struct {
	ID        field[int64]  `json:"id"`
	Username  field[string] `json:"username"`
	FullName  string        `json:"full_name"`
	Email     field[string] `json:"email"`
	Active    *bool         `json:"is_active"`
	Superuser field[bool]   `json:"is_superuser"`
}

func (u *user) identity() int64 { return u.ID.V }
func (u *user) missing() string {
	return firstMissing(needed{"id", &u.ID}, needed{"username", &u.Username})
}

// active reports whether the user may log in; it is true where the token may not see it.
func (u *user) active() bool { return u.Active == nil || *u.Active }

// member is the role of a user, or of an authorization group, in a product or a product group.
type member struct {
	ID      field[int64] `json:"id"`
	Product field[int64] `json:"product"`
	User    int64        `json:"user"`
	Group   int64        `json:"authorization_group"`
	Role    field[int]   `json:"role"`
}

func (m *member) identity() int64 { return m.ID.V }
func (m *member) missing() string {
	return firstMissing(needed{"id", &m.ID}, needed{"product", &m.Product}, needed{"role", &m.Role})
}

// groupMember is a user in an authorization group.
type groupMember struct {
	ID    field[int64] `json:"id"`
	Group field[int64] `json:"authorization_group"`
	User  field[int64] `json:"user"`
}

func (m *groupMember) identity() int64 { return m.ID.V }
func (m *groupMember) missing() string {
	return firstMissing(needed{"id", &m.ID}, needed{"authorization_group", &m.Group}, needed{"user", &m.User})
}

// observation is an observation, as lists and single objects show it.
type observation struct {
	ID         field[int64]     `json:"id"`
	Product    field[int64]     `json:"product"`
	Title      field[string]    `json:"title"`
	Severity   field[string]    `json:"current_severity"`
	Status     field[string]    `json:"current_status"`
	Priority   field[*int]      `json:"current_priority"`
	Parser     field[parser]    `json:"parser_data"`
	LastLog    field[time.Time] `json:"last_observation_log"`
	Vuln       string           `json:"vulnerability_id"`
	CVSS3      decimal          `json:"cvss3_score"`
	CVSS4      decimal          `json:"cvss4_score"`
	Component  string           `json:"origin_component_name"`
	Version    string           `json:"origin_component_version"`
	Image      string           `json:"origin_docker_image_name_tag"`
	File       string           `json:"origin_source_file"`
	Endpoint   string           `json:"origin_endpoint_url"`
	Service    string           `json:"origin_service_name"`
	Branch     string           `json:"branch_name"`
	Scanner    string           `json:"scanner"`
	EPSS       decimal          `json:"epss_score"` // percent
	CVEFoundIn *[]cveSource     `json:"cve_found_in"`
}

type parser struct {
	Type string `json:"type"`
}

type cveSource struct {
	Source string `json:"source"`
}

func (o *observation) missing() string {
	return firstMissing(needed{"id", &o.ID}, needed{"product", &o.Product}, needed{"title", &o.Title},
		needed{"current_severity", &o.Severity}, needed{"current_status", &o.Status},
		needed{"current_priority", &o.Priority}, needed{"parser_data", &o.Parser},
		needed{"last_observation_log", &o.LastLog})
}

// title is an observation of which only the id is read.
type title struct {
	ID field[int64] `json:"id"`
}

func (t *title) missing() string { return firstMissing(needed{"id", &t.ID}) }

// approval is the log of an assessment that was approved, with the observation as it is now.
type approval struct {
	ID          field[int64]       `json:"id"`
	Approved    field[time.Time]   `json:"approval_date"`
	Observation field[observation] `json:"observation_data"`
}

func (a *approval) missing() string {
	if name := firstMissing(needed{"id", &a.ID}, needed{"approval_date", &a.Approved},
		needed{"observation_data", &a.Observation}); name != "" {
		return name
	}
	return a.Observation.V.missing()
}

// gateChange is a notification of SecObserve about a security gate.
type gateChange struct {
	ID      field[int64]     `json:"id"`
	Product field[*int64]    `json:"product"`
	Name    field[string]    `json:"name"`
	Created field[time.Time] `json:"created"`
}

func (c *gateChange) missing() string {
	return firstMissing(needed{"id", &c.ID}, needed{"product", &c.Product}, needed{"name", &c.Name},
		needed{"created", &c.Created})
}

// value is what the gate has changed to; valid: the words are known here.
func (c *gateChange) value() (passed *bool, valid bool) {
	_, to, _ := strings.Cut(c.Name.V, "changed to ")
	switch to {
	case "Passed":
		return new(true), true
	case "Failed":
		return new(false), true
	}
	return nil, to == "None"
}

// settings are the settings of the installation.
type settings struct {
	EmailFrom      field[string] `json:"email_from"`
	ExceptionEmail field[string] `json:"exception_email_to"`
	ExceptionTeams field[string] `json:"exception_ms_teams_webhook"`
	ExceptionSlack field[string] `json:"exception_slack_webhook"`
	ExceptionLimit field[*int]   `json:"exception_rate_limit"`
	MinSeverity    field[string] `json:"observation_title_notification_min_severity"`
	Statuses       field[words]  `json:"observation_title_notification_status_list"`
	MinPriority    field[*int]   `json:"observation_title_notification_min_priority"`
	ParserType     field[string] `json:"observation_title_notification_parser_type"`
	TitleEmail     field[string] `json:"observation_title_notification_email_to"`
	TitleTeams     field[string] `json:"observation_title_notification_ms_teams_webhook"`
	TitleSlack     field[string] `json:"observation_title_notification_slack_webhook"`
	Frontend       field[string] `json:"base_url_frontend"`
}

func (s *settings) missing() string {
	return firstMissing(needed{"email_from", &s.EmailFrom}, needed{"exception_email_to", &s.ExceptionEmail},
		needed{"exception_ms_teams_webhook", &s.ExceptionTeams}, needed{"exception_slack_webhook", &s.ExceptionSlack},
		needed{"exception_rate_limit", &s.ExceptionLimit},
		needed{"observation_title_notification_min_severity", &s.MinSeverity},
		needed{"observation_title_notification_status_list", &s.Statuses},
		needed{"observation_title_notification_min_priority", &s.MinPriority},
		needed{"observation_title_notification_parser_type", &s.ParserType},
		needed{"observation_title_notification_email_to", &s.TitleEmail},
		needed{"observation_title_notification_ms_teams_webhook", &s.TitleTeams},
		needed{"observation_title_notification_slack_webhook", &s.TitleSlack},
		needed{"base_url_frontend", &s.Frontend})
}

// status is what SecObserve says of its version.
type status struct {
	Version string `json:"version"`
}

func (*status) missing() string { return "" }
