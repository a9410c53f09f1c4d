// Package fakesecobserve is a SecObserve for tests: a model of what its users do, and an HTTP server that answers for
// the model as SecObserve's REST API does, with its peculiarities and with faults on demand.
package fakesecobserve

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Notification are the settings that products and product groups share.
type Notification struct {
	EmailTo     string
	Teams       string
	Slack       string
	MinSeverity string
	Statuses    []string
	MinPriority *int
}

// Group is a product group.
type Group struct {
	ID   int64
	Name string
	Notification
}

// Product is a product. LastChange is its last_observation_change, which the model sets.
type Product struct {
	ID      int64
	Name    string
	GroupID int64 // 0: none
	Notification
	Gate       *bool
	LastChange time.Time
}

// User is a user.
type User struct {
	ID        int64
	Username  string
	FullName  string
	Email     string
	Inactive  bool
	Superuser bool
}

// Member is the role of a user or of an authorization group in a product or a product group.
type Member struct {
	ID      int64
	Product int64 // or a product group
	User    int64 // or an authorization group
	Role    int   // 1 reader to 5 owner
}

// Observation is an observation. LastLog is its last_observation_log, which the model sets.
type Observation struct {
	ID          int64
	Product     int64
	Title       string
	Severity    string
	Status      string
	Priority    *int
	ParserType  string
	Vuln        string
	CVSS3       string // a decimal; empty: null
	CVSS4       string
	Component   string
	Version     string
	Image       string
	File        string
	Endpoint    string
	Service     string
	Branch      string
	Scanner     string
	EPSS        string // percent; empty: null
	Exploited   bool   // in the list of CISA
	Description string
	LastLog     time.Time
}

// logEntry is a row of observation_logs.
type logEntry struct {
	id          int64
	observation int64
	status      string // assessment_status
	created     time.Time
	approved    *time.Time
	change      func(*Observation) // of an assessment that waits for approval
}

// Settings are the settings of the installation.
type Settings struct {
	EmailFrom      string
	ExceptionEmail string
	ExceptionTeams string
	ExceptionSlack string
	ExceptionLimit int
	Title          Notification
	TitleParser    string
	Frontend       string
}

// Model is one SecObserve. Its methods are what users, uploads and nightly tasks do there; each is a transaction.
type Model struct {
	mu       sync.Mutex
	clock    time.Time
	lastID   int64
	settings Settings
	groups   map[int64]*Group
	products map[int64]*Product
	users    map[int64]*User
	members  map[int64]*Member
	byGroup  map[int64]*Member // of authorization groups
	inGroups map[int64]*Member // users in authorization groups: Product is the group
	rows     []*Observation    // by id
	logs     []*logEntry
	gates    []*gateChange
	hidden   int // the last so many of gates are not stored yet
	oldWords bool
}

// NewModel returns an empty SecObserve whose clock starts at the given time. The clock moves with each change by a
// millisecond, and by Advance.
func NewModel(start time.Time) *Model {
	return &Model{
		clock: start.Truncate(time.Microsecond), settings: Settings{ExceptionLimit: 3600},
		groups: map[int64]*Group{}, products: map[int64]*Product{}, users: map[int64]*User{}, members: map[int64]*Member{},
		byGroup: map[int64]*Member{}, inGroups: map[int64]*Member{},
	}
}

// do runs a transaction.
func (m *Model) do(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock = m.clock.Add(time.Millisecond)
	change()
}

func (m *Model) nextID() int64 {
	m.lastID++
	return m.lastID
}

// Advance moves the clock.
func (m *Model) Advance(d time.Duration) { m.do(func() { m.clock = m.clock.Add(d) }) }

// Now is the time of the model's clock.
func (m *Model) Now() (now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clock
}

// SetSettings changes the settings.
func (m *Model) SetSettings(change func(*Settings)) { m.do(func() { change(&m.settings) }) }

// AddGroup stores a product group and returns its id.
func (m *Model) AddGroup(g Group) int64 {
	m.do(func() { g.ID = m.nextID(); m.groups[g.ID] = &g })
	return g.ID
}

// AddProduct stores a product and returns its id. One with an id comes back from a backup.
func (m *Model) AddProduct(p Product) int64 {
	m.do(func() {
		if p.ID == 0 {
			p.ID = m.nextID()
		}
		p.LastChange = m.clock
		m.products[p.ID] = &p
	})
	return p.ID
}

// AddUser stores a user and returns its id.
func (m *Model) AddUser(u User) int64 {
	m.do(func() { u.ID = m.nextID(); m.users[u.ID] = &u })
	return u.ID
}

// EditGroup changes a product group.
func (m *Model) EditGroup(id int64, change func(*Group)) { m.do(func() { change(m.groups[id]) }) }

// gateChange is a notification that the gate of a product has changed.
type gateChange struct {
	id      int64
	product int64
	passed  *bool
	created time.Time
}

// EditProduct changes a product; its observations and their stamps stay as they are. A change of its gate is notified.
func (m *Model) EditProduct(id int64, change func(*Product)) {
	m.do(func() {
		p := m.products[id]
		before := p.Gate
		change(p)
		if now := p.Gate; (before == nil) != (now == nil) || now != nil && *before != *now {
			m.gates = append(m.gates, &gateChange{m.nextID(), id, now, m.clock})
		}
	})
}

// HideGateChanges has the last notifications about gates not be stored yet, as when the task that stores them is late.
func (m *Model) HideGateChanges(n int) { m.do(func() { m.hidden = n }) }

// SpeakOldWords has the model know no approval with edits, as versions until 1.52 do.
func (m *Model) SpeakOldWords(old bool) { m.do(func() { m.oldWords = old }) }

// HasApprovalWithEdits reports whether the model knows approvals with edits.
func (m *Model) HasApprovalWithEdits() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.oldWords
}

// EditUser changes a user.
func (m *Model) EditUser(id int64, change func(*User)) { m.do(func() { change(m.users[id]) }) }

// SetMember gives a user a role in a product or group; 0 removes the user.
func (m *Model) SetMember(product, user int64, role int) {
	m.do(func() { m.setRole(m.members, product, user, role) })
}

// SetGroupMember gives an authorization group a role in a product or group; 0 removes it.
func (m *Model) SetGroupMember(product, group int64, role int) {
	m.do(func() { m.setRole(m.byGroup, product, group, role) })
}

// SetInGroup puts a user into an authorization group, or removes it. The row gets a new id each time, as it does with
// each login through OpenID Connect.
func (m *Model) SetInGroup(group, user int64, in bool) {
	m.do(func() { m.setRole(m.inGroups, group, user, map[bool]int{true: 1}[in]) })
}

func (m *Model) setRole(table map[int64]*Member, product, user int64, role int) {
	for id, r := range table {
		if r.Product == product && r.User == user {
			delete(table, id)
		}
	}
	if role > 0 {
		r := &Member{ID: m.nextID(), Product: product, User: user, Role: role}
		table[r.ID] = r
	}
}

// DeleteUser removes a user with its memberships.
func (m *Model) DeleteUser(id int64) {
	m.do(func() {
		delete(m.users, id)
		for _, table := range []map[int64]*Member{m.members, m.inGroups} {
			for key, r := range table {
				if r.User == id {
					delete(table, key)
				}
			}
		}
	})
}

// DeleteGroup removes a product group; its products stay.
func (m *Model) DeleteGroup(id int64) {
	m.do(func() {
		delete(m.groups, id)
		m.forgetMembers(id)
		for _, p := range m.products {
			if p.GroupID == id {
				p.GroupID = 0
			}
		}
	})
}

// DeleteProduct removes a product with its observations.
func (m *Model) DeleteProduct(id int64) {
	m.do(func() {
		delete(m.products, id)
		m.forgetMembers(id)
		m.remove(func(o *Observation) bool { return o.Product == id })
		m.gates = slices.DeleteFunc(m.gates, func(c *gateChange) bool { return c.product == id })
	})
}

func (m *Model) forgetMembers(product int64) {
	for _, table := range []map[int64]*Member{m.members, m.byGroup} {
		for key, r := range table {
			if r.Product == product {
				delete(table, key)
			}
		}
	}
}

func (m *Model) remove(gone func(*Observation) bool) {
	m.rows = slices.DeleteFunc(m.rows, gone)
	m.logs = slices.DeleteFunc(m.logs, func(l *logEntry) bool { return m.find(l.observation) == nil })
}

// find returns nil where there is no such observation.
func (m *Model) find(id int64) *Observation {
	at, found := slices.BinarySearchFunc(m.rows, id, func(o *Observation, id int64) int { return cmp.Compare(o.ID, id) })
	if !found {
		return nil
	}
	return m.rows[at]
}

// AddObservation stores an observation with its first log and returns its id.
func (m *Model) AddObservation(o Observation) int64 {
	u := m.BeginUpload(o.Product)
	id := u.Add(o)
	u.Commit()
	return id
}

// stamp writes a log of an observation, as an assessment or an upload does.
func (m *Model) stamp(o *Observation, at time.Time) {
	m.logs = append(m.logs, &logEntry{id: m.nextID(), observation: o.ID, status: "Auto approved", created: at})
	o.LastLog = at
	if p := m.products[o.Product]; p != nil {
		p.LastChange = at
	}
}

// Assess changes an observation with a log: its stamps move.
func (m *Model) Assess(id int64, change func(*Observation)) {
	m.do(func() {
		o := m.find(id)
		change(o)
		m.stamp(o, m.clock)
	})
}

// EditSilently changes an observation without a log: no stamp moves, as with nightly updates and manual edits.
func (m *Model) EditSilently(id int64, change func(*Observation)) {
	m.do(func() { change(m.find(id)) })
}

// Propose stores an assessment that waits for its approval: the stamps move, the values do not.
func (m *Model) Propose(id int64, change func(*Observation)) (assessment int64) {
	m.do(func() {
		m.stamp(m.find(id), m.clock)
		l := m.logs[len(m.logs)-1]
		l.status, l.change = "Needs approval", change
		assessment = l.id
	})
	return assessment
}

// Approve approves an assessment: the values move, the stamps of observation and product do not.
func (m *Model) Approve(assessment int64) { m.approve(assessment, "Approved") }

// ApproveWithEdits edits what was said of an assessment and approves it.
func (m *Model) ApproveWithEdits(assessment int64) { m.approve(assessment, "Approved with edits") }

func (m *Model) approve(assessment int64, status string) {
	m.do(func() {
		for _, l := range m.logs {
			if l.id == assessment && l.change != nil {
				l.change(m.find(l.observation))
				at := m.clock
				l.status, l.approved, l.change = status, &at, nil
			}
		}
	})
}

// DeleteObservation removes an observation by the API: the stamp of its product moves.
func (m *Model) DeleteObservation(id int64) {
	m.do(func() {
		if o := m.find(id); o != nil {
			m.products[o.Product].LastChange = m.clock
			m.remove(func(o *Observation) bool { return o.ID == id })
		}
	})
}

// DeleteBranch removes the observations of a branch: no stamp moves.
func (m *Model) DeleteBranch(product int64, branch string) {
	m.do(func() {
		m.remove(func(o *Observation) bool { return o.Product == product && o.Branch == branch })
	})
}
