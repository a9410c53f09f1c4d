package secobserve

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/email"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/fakesecobserve"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// begin is when the clock of each model starts: early in the day, before all is read.
var begin = time.Date(2026, 5, 4, 1, 0, 0, 0, time.UTC)

// env is a connector between a fake SecObserve and a database.
type env struct {
	t      testing.TB
	db     *dbmodel.DB
	vault  *dbmodel.Vault
	model  *fakesecobserve.Model
	server *fakesecobserve.Server
	sync   *Connector
	admin  int64
}

func newEnv(t testing.TB, db *dbmodel.DB) *env {
	t.Helper()
	e := &env{t: t, db: db, model: fakesecobserve.NewModel(begin)}
	e.admin = e.model.AddUser(fakesecobserve.User{Username: "root", FullName: "Root", Superuser: true})
	e.server = fakesecobserve.New(t, e.model, e.admin)
	var err error
	if e.vault, err = dbmodel.OpenVault(t.Context(), db, make([]byte, dbmodel.KeySize), nil); err != nil {
		t.Fatal(err)
	}
	e.restart()
	return e
}

// restart makes a connector that knows nothing but the database.
func (e *env) restart() {
	transport := &http.Transport{}
	e.t.Cleanup(transport.CloseIdleConnections)
	e.sync = New(Config{
		DB: e.db, Vault: e.vault, Client: NewClient(e.server.URL, fakesecobserve.Token, &http.Client{Transport: transport}),
		CheckAddress: checkAddress, CheckSender: email.CheckAddress, Log: zerolog.Nop(),
	})
	e.sync.Client.pause = func(ctx context.Context, _ time.Duration) bool { return ctx.Err() == nil }
	e.sync.now = func(context.Context) (time.Time, error) { return e.model.Now(), nil }
}

func checkAddress(c rule.Channel, address string) error {
	if c == rule.Email {
		return email.CheckAddress(address)
	}
	return channel.CheckWebhookURL(address, nil)
}

// pass runs a pass that must succeed.
func (e *env) pass() Counts {
	e.t.Helper()
	counts, err := e.sync.Sync(e.t.Context(), nil, Options{})
	if err != nil {
		e.t.Fatal(err)
	}
	return counts
}

// load fills the model with a group, two products and some observations, and loads it.
func (e *env) load() (group, one, two int64) {
	e.t.Helper()
	m := e.model
	group = m.AddGroup(fakesecobserve.Group{Name: "Team", Notification: fakesecobserve.Notification{EmailTo: "a@x.org, b@x.org"}})
	one = m.AddProduct(fakesecobserve.Product{Name: "One", GroupID: group, Notification: fakesecobserve.Notification{
		MinSeverity: "High", Statuses: []string{"Open", "Affected"}, Slack: "https://hooks.slack.com/services/T/B/secretwebhook",
	}})
	two = m.AddProduct(fakesecobserve.Product{Name: "Two", Gate: new(true)})
	for i := range 7 {
		product := one
		if i > 4 {
			product = two
		}
		m.AddObservation(finding(product, fmt.Sprintf("CVE-%d", i)))
	}
	m.Advance(time.Hour)
	e.pass()
	e.evaluated()
	return group, one, two
}

// evaluated has what waits be evaluated, as a worker would.
func (e *env) evaluated() {
	e.t.Helper()
	if _, err := e.db.ExecContext(e.t.Context(), "DELETE FROM outbox"); err != nil {
		e.t.Fatal(err)
	}
}

func finding(product int64, title string) fakesecobserve.Observation {
	return fakesecobserve.Observation{
		Product: product, Title: title, Severity: "High", Status: "Open", ParserType: "SCA", Component: "ab", Version: "1",
		CVSS3: "9.8", Branch: "main", Scanner: "Trivy / 0.60",
	}
}

// tables is what Tocsin has, in a form that can be compared.
type tables struct {
	Settings     []string
	Groups       map[int64]string
	Products     map[int64]string
	Users        map[string]string
	Members      map[string]rule.Role
	Observations map[int64]dbmodel.Observation
}

// stored reads what Tocsin has.
func (e *env) stored() tables {
	e.t.Helper()
	ctx, db := e.t.Context(), e.db
	out := tables{
		Groups: map[int64]string{}, Products: map[int64]string{}, Users: map[string]string{}, Members: map[string]rule.Role{},
		Observations: map[int64]dbmodel.Observation{},
	}
	must := func(err error) {
		e.t.Helper()
		if err != nil {
			e.t.Fatal(err)
		}
	}
	admin := dbmodel.Viewer{Admin: true}
	groups, err := dbmodel.ProductGroups(ctx, db, admin, 0, 10_000)
	must(err)
	for _, g := range groups {
		out.Groups[g.ID] = e.shown(g.Name, nil, nil, g.NotificationSettings, rule.Holder{Kind: rule.HolderGroup, ID: g.ID})
		e.addMembers(out.Members, "group", g.ID, dbmodel.InProductGroup(g.ID))
	}
	products, err := dbmodel.Products(ctx, db, admin, 0, 10_000)
	must(err)
	for _, p := range products {
		out.Products[p.ID] = e.shown(p.Name, p.ProductGroupID, p.SecurityGatePassed, p.NotificationSettings,
			rule.Holder{Kind: rule.HolderProduct, ID: p.ID})
		e.addMembers(out.Members, "product", p.ID, dbmodel.InProduct(p.ID))
		ids, err := dbmodel.ProductObservationIDs(ctx, db, p.ID)
		must(err)
		must(db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			list, err := dbmodel.ObservationsForUpdate(ctx, tx, ids)
			for _, o := range list {
				out.Observations[o.ID] = o.Observation
			}
			return err
		}))
	}
	users, err := dbmodel.Users(ctx, db, "", 10_000)
	must(err)
	for _, u := range users {
		if u.Username != dbmodel.Automation {
			out.Users[u.Username] = fmt.Sprintf("%s <%s> %v", u.FullName, u.Email, u.IsAdmin)
		}
	}
	s, err := dbmodel.LoadSettings(ctx, db)
	must(err)
	out.Settings = []string{
		s.EmailFrom, fmt.Sprint(s.ExceptionRateLimit), s.ObservationURL, s.ProductURL, s.ObservationTitleURL,
		string(s.TitleMinSeverity), fmt.Sprint(s.TitleStatuses), string(s.TitleParserType), e.contacts(rule.Holder{Kind: rule.HolderTitles}),
		e.contacts(rule.Holder{Kind: rule.HolderExceptions}),
	}
	return out
}

func (e *env) addMembers(to map[string]rule.Role, kind string, id int64, in dbmodel.Membership) {
	e.t.Helper()
	list, err := dbmodel.Members(e.t.Context(), e.db, in, "", 10_000)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, m := range list {
		to[fmt.Sprintf("%s %d %s", kind, id, m.Username)] = m.Role
	}
}

func (e *env) shown(name string, group *int64, gate *bool, n dbmodel.NotificationSettings, h rule.Holder) string {
	e.t.Helper()
	return describe(name, group, gate, string(n.MinSeverity), n.Statuses, n.MinPriority, e.contacts(h))
}

func describe[T ~string](name string, group *int64, gate *bool, severity string, statuses []T, priority *int, contacts string) string {
	text := fmt.Sprintf("%s %s %v", name, severity, statuses)
	if group != nil {
		text += fmt.Sprintf(" group %d", *group)
	}
	if gate != nil {
		text += fmt.Sprintf(" gate %v", *gate)
	}
	if priority != nil {
		text += fmt.Sprintf(" priority %d", *priority)
	}
	return text + contacts
}

// contacts are the addresses of a holder, as they would be delivered to.
func (e *env) contacts(h rule.Holder) (text string) {
	e.t.Helper()
	found, err := dbmodel.ContactsOf(e.t.Context(), e.db, h)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, c := range []rule.Channel{rule.Email, rule.MSTeams, rule.Slack} {
		for _, contact := range found[h][c] {
			target, err := dbmodel.TargetByID(e.t.Context(), e.db, contact.Target)
			if err != nil {
				e.t.Fatal(err)
			}
			address, err := e.vault.OpenAddress(c, target.Address)
			if err != nil {
				e.t.Fatal(err)
			}
			text += " " + address
		}
	}
	return text
}

// expected is what Tocsin should have.
func (e *env) expected() tables {
	e.t.Helper()
	s := e.model.State()
	out := tables{
		Groups: map[int64]string{}, Products: map[int64]string{}, Users: map[string]string{}, Members: map[string]rule.Role{},
		Observations: map[int64]dbmodel.Observation{},
	}
	addresses := func(n fakesecobserve.Notification) (text string) {
		for _, a := range append(splitList(n.EmailTo), n.Teams, n.Slack) {
			if a != "" {
				text += " " + a
			}
		}
		return text
	}
	for id, g := range s.Groups {
		out.Groups[id] = describe(g.Name, nil, nil, g.MinSeverity, g.Statuses, g.MinPriority, addresses(g.Notification))
	}
	for id, p := range s.Products {
		var group *int64
		if p.GroupID != 0 {
			group = &p.GroupID
		}
		out.Products[id] = describe(p.Name, group, p.Gate, p.MinSeverity, p.Statuses, p.MinPriority, addresses(p.Notification))
	}
	for _, u := range s.Users {
		out.Users[u.Username] = fmt.Sprintf("%s <%s> %v", u.FullName, u.Email, u.Superuser && !u.Inactive)
	}
	for _, m := range slices.Concat(s.Members, s.ByGroup) {
		users := []int64{m.User}
		if slices.Contains(s.ByGroup, m) {
			users = nil
			for _, g := range s.InGroups {
				if g.Product == m.User {
					users = append(users, g.User)
				}
			}
		}
		kind := "product"
		if _, isGroup := s.Groups[m.Product]; isGroup {
			kind = "group"
		}
		for _, id := range users {
			u := s.Users[id]
			key := fmt.Sprintf("%s %d %s", kind, m.Product, u.Username)
			if role, _ := roleOf(m.Role); !u.Inactive && slices.Index(rule.Roles, role) > slices.Index(rule.Roles, out.Members[key]) {
				out.Members[key] = role
			}
		}
	}
	for id, o := range s.Observations {
		out.Observations[id] = wanted(o)
	}
	out.Settings = []string{
		s.Settings.EmailFrom, fmt.Sprint(s.Settings.ExceptionLimit), "", "", "", s.Settings.Title.MinSeverity,
		fmt.Sprint(append([]string{}, s.Settings.Title.Statuses...)), s.Settings.TitleParser, addresses(s.Settings.Title),
		addresses(fakesecobserve.Notification{EmailTo: s.Settings.ExceptionEmail, Teams: s.Settings.ExceptionTeams, Slack: s.Settings.ExceptionSlack}),
	}
	if f := s.Settings.Frontend; f != "" {
		out.Settings[2], out.Settings[3] = f+"/#/observations/{id}/show", f+"/#/products/{id}/show"
		out.Settings[4] = f + "/#/observations?filter=%7B%22title%22%3A%22{title}%22%7D"
	}
	return out
}

// wanted is an observation as Tocsin should have it.
func wanted(o fakesecobserve.Observation) dbmodel.Observation {
	out := dbmodel.Observation{
		ID: o.ID, ProductID: o.Product, Title: o.Title, Severity: rule.Severity(o.Severity), Status: rule.Status(o.Status),
		Priority: o.Priority, ParserType: rule.ParserType(o.ParserType),
		Details: dbmodel.Details{
			VulnerabilityID: o.Vuln,
			Origin:          dbmodel.Origin{Component: o.Component, Image: o.Image, File: o.File, Endpoint: o.Endpoint},
		},
	}
	out.Branch, out.Service, out.Scanner, out.KnownExploited = o.Branch, o.Service, o.Scanner, &o.Exploited
	out.EPSSScore, _ = decimal(o.EPSS).number(100)
	if o.Version != "" {
		out.Origin.Component += ":" + o.Version
	}
	if score := decimal(o.CVSS4 + o.CVSS3); score != "" { // tests set one of them
		out.CVSSScore, _ = score.number(1)
	}
	return out
}

// equal demands that Tocsin's tables equal the model.
func (e *env) equal() {
	e.t.Helper()
	if diff := cmp.Diff(e.expected(), e.stored()); diff != "" {
		e.t.Fatalf("the tables differ from the model (-model +tables):\n%s", diff)
	}
}

// events lists the waiting events of a kind, oldest first, in words.
func (e *env) events(kind dbmodel.EventKind) (list []string) {
	e.t.Helper()
	rows, err := e.db.QueryContext(e.t.Context(), "SELECT payload FROM outbox WHERE kind = ? ORDER BY id", kind)
	if err != nil {
		e.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var payload string
		if err := rows.Scan(&payload); err != nil {
			e.t.Fatal(err)
		}
		list = append(list, payload)
	}
	if err := rows.Err(); err != nil {
		e.t.Fatal(err)
	}
	return list
}

// reports lists the classes of the failures that wait to be notified.
func (e *env) reports() (classes []string) {
	e.t.Helper()
	for _, payload := range e.events(dbmodel.KindException) {
		for class := range maps.Keys(reportClasses) {
			if strings.Contains(payload, `"`+class+`"`) {
				classes = append(classes, class)
			}
		}
	}
	return classes
}

var reportClasses = map[string]bool{
	"SecObserveUnauthorized": true, "SecObserveForbidden": true, "SecObserveMissing": true, "SecObserveRefused": true,
	"SecObserveMalformed": true, "SecObserveIncomplete": true, "SecObserveTooOld": true, "SecObserveUnavailable": true,
	"SecObserveThrottled": true, "SecObserveNoSuperuser": true, "SecObserveProductsHeld": true,
	"SecObserveObservationsHeld": true, "SecObserveFault": true, "SecObserveUsersHeld": true, "SecObserveMembersHeld": true,
}
