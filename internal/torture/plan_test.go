package torture

import (
	"encoding/json"
	"fmt"
	"testing"
)

// TestPlanIsRepeatable makes a plan twice: a seed whose run failed must repeat it.
func TestPlanIsRepeatable(t *testing.T) {
	t.Parallel()
	text := func(seed uint64) string { return fmt.Sprintf("%+v", summary(newPlan(seed, 3000, true))) }
	first, again, other := text(7), text(7), text(8)
	if first != again {
		n := 0
		for n < min(len(first), len(again)) && first[n] == again[n] {
			n++
		}
		t.Errorf("one seed gives two plans:\n%.200s\n%.200s", first[max(n-100, 0):], again[max(n-100, 0):])
	}
	if first == other {
		t.Error("two seeds give one plan")
	}
}

// summary is a plan as text, without the addresses that pointers print as.
func summary(p *plan) []string {
	out := []string{fmt.Sprintf("%d %v %+v", p.total, p.aof, p.acts)}
	for _, list := range p.calls {
		for _, c := range list {
			_, path, body := c.request()
			text, _ := json.Marshal(body) // a priority is a pointer
			out = append(out, path, string(text))
		}
	}
	return out
}
