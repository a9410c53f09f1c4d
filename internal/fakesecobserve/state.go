package fakesecobserve

import (
	"cmp"
	"slices"
)

// State is a copy of everything in the model.
type State struct {
	Settings     Settings
	Groups       map[int64]Group
	Products     map[int64]Product
	Users        map[int64]User
	Members      []Member // without those of authorization groups
	ByGroup      []Member
	InGroups     []Member
	Observations map[int64]Observation
}

// State returns what is in the model now.
func (m *Model) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := State{
		Settings: m.settings, Groups: map[int64]Group{}, Products: map[int64]Product{}, Users: map[int64]User{},
		Observations: map[int64]Observation{}, Members: list(m.members), ByGroup: list(m.byGroup),
		InGroups: list(m.inGroups),
	}
	for id, g := range m.groups {
		s.Groups[id] = *g
	}
	for id, p := range m.products {
		s.Products[id] = *p
	}
	for id, u := range m.users {
		s.Users[id] = *u
	}
	for _, o := range m.rows {
		s.Observations[o.ID] = *o
	}
	return s
}

// list returns copies of rows by id.
func list(table map[int64]*Member) []Member {
	out := make([]Member, 0, len(table))
	for _, r := range table {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
