package torture

import "testing"

func TestReadCount(t *testing.T) {
	t.Parallel()
	for headline, want := range map[string]int{
		"3 security gates: 3 notifications from 3 products":             3,
		"2 new Critical, 3 security gates in Product 4":                 5,
		"5 security gates in Product 14":                                5,
		"[Tocsin] 5 security gates in Product 14":                       5,
		"[Tocsin] 2 new Critical, 1 exception: 12 notifications":        12,
		"[Tocsin] 1 new High, 2 security gates failed in Product 3 [4]": 3,
	} {
		var a arrival
		if err := a.readCount(headline); err != nil || a.count != want {
			t.Errorf("%s: %d %v, want %d", headline, a.count, err, want)
		}
	}
	var a arrival
	if err := a.readCount("[Tocsin] Critical: CVE-2025-1 in Product 14"); err == nil {
		t.Errorf("a single notification is a digest of %d", a.count)
	}
}
