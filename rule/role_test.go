package rule

import "testing"

func TestRoles(t *testing.T) {
	t.Parallel()
	for i, r := range Roles {
		for j, needed := range Roles {
			if got := r.Covers(needed); got != (i >= j) {
				t.Errorf("%s covers %s: %v", r, needed, got)
			}
			if got, want := r.Higher(needed), Roles[max(i, j)]; got != want {
				t.Errorf("of %s and %s the higher is %s", r, needed, got)
			}
		}
		if NoRole.Covers(r) || Role("admin").Covers(r) || r.Covers(NoRole) || r.Covers("admin") {
			t.Errorf("%s and what is no role", r)
		}
		if r.Higher(NoRole) != r || NoRole.Higher(r) != r {
			t.Errorf("%s and no role", r)
		}
		if got := r.AndHigher(); len(got) != len(Roles)-i || got[0] != r {
			t.Errorf("%s and higher: %v", r, got)
		}
	}
	if NoRole.AndHigher() != nil || Role("admin").AndHigher() != nil || NoRole.Valid() {
		t.Error("what is no role is covered by some")
	}
}
