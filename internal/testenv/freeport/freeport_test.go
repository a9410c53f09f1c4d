package freeport

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestPortsDiffer takes ports here and in another process that begins with the same ones.
func TestPortsDiffer(t *testing.T) {
	const beginsWith, each = "TEST_FREEPORT_BEGINS_WITH", 300
	if first := os.Getenv(beginsWith); first != "" {
		ports.last, _ = strconv.Atoi(first)
	}
	first := ports.last
	taken := make(map[string]bool, each)
	for range each {
		port, err := Take()
		if err != nil {
			t.Fatal(err)
		}
		taken[strconv.Itoa(port)] = true
		t.Log("port", port)
	}
	if len(taken) != each {
		t.Errorf("%d ports are %d different ones", each, len(taken))
	}
	if os.Getenv(beginsWith) != "" {
		return
	}
	other := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPortsDiffer$", "-test.v") // #nosec G204 -- itself
	other.Env = append(os.Environ(), beginsWith+"="+strconv.Itoa(first))
	out, err := other.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	theirs := 0
	for line := range strings.Lines(string(out)) {
		if _, port, found := strings.Cut(strings.TrimSpace(line), " port "); found {
			if theirs++; taken[port] {
				t.Errorf("port %s is taken twice", port)
			}
		}
	}
	if theirs != each {
		t.Errorf("the other process took %d ports instead of %d:\n%s", theirs, each, out)
	}
}
