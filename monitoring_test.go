package tocsin_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/internal/testenv"
)

func TestAlertRules(t *testing.T) {
	t.Parallel()
	testenv.Promtool(t, "check", "rules", "deploy/prometheus/alerts.yml")
	testenv.Promtool(t, "check", "config", "deploy/prometheus/prometheus.yml")
	_, example, _ := strings.Cut(read(t, "docs/operations.md"), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	folder := t.TempDir()
	for name, text := range map[string]string{"prometheus.yml": example, "alerts.yml": read(t, "deploy/prometheus/alerts.yml")} {
		if err := os.WriteFile(folder+"/"+name, []byte(text), 0o644); err != nil { // promtool may run as another user
			t.Fatal(err)
		}
	}
	testenv.Promtool(t, "check", "config", folder+"/prometheus.yml")
	testenv.Promtool(t, "test", "rules", "deploy/prometheus/alerts_test.yml")
}

// TestDashboard: Grafana provisions the dashboard as it is, and each panel asks the data source that is chosen in it.
func TestDashboard(t *testing.T) {
	t.Parallel()
	type source struct{ Type, UID string }
	var d struct {
		UID, Title    string
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type, Query string }
		}
		Panels []struct {
			ID          int
			Type, Title string
			Datasource  source
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct {
				RefID, Expr string
				Datasource  source
			}
		}
	}
	if err := json.Unmarshal([]byte(read(t, "deploy/grafana/tocsin.json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion == 0 || len(d.Panels) == 0 || len(d.Templating.List) != 1 {
		t.Fatalf("%+v", d)
	}
	chosen := source{d.Templating.List[0].Query, "${" + d.Templating.List[0].Name + "}"}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q has no id or title of its own", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x > 23 {
					t.Fatalf("%q lies over %q, or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource != chosen || len(p.Targets) == 0 {
			t.Errorf("%q asks %v", p.Title, p.Datasource)
		}
		for _, target := range p.Targets {
			if target.Expr == "" || target.RefID == "" || target.Datasource != chosen {
				t.Errorf("%q: %+v", p.Title, target)
			}
		}
	}
}
