package main

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/internal/testenv/program"
)

// TestDocsRun pastes the shell examples of the manual that call a running "tocsin serve" into one shell, in this order.
func TestDocsRun(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for _, name := range []string{"README.md", "docs/reporting.md", "docs/recipients.md", "docs/access.md", "docs/subscriptions.md"} {
		page, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(page)
	}
	d := newServe(t)
	folder := t.TempDir()
	d.call(http.MethodPut, "/api/v1/products/7", object{"name": "Shop"}, nil) // of docs/subscriptions.md
	path, err := program.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, folder+"/tocsin"); err != nil {
		t.Fatal(err)
	}
	line := `{"id": 2, "product_id": 1, "title": "CVE-2026-2", "severity": "High", "status": "Open", "priority": 1, "parser_type": "SCA"}`
	if err := os.WriteFile(folder+"/observations.ndjson", []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, block := range strings.Split(text.String(), "```sh\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		block = strings.ReplaceAll(block, "https://tocsin.example", "localhost:8080")
		if strings.Contains(block, "localhost:8080/api/") || strings.Contains(block, "./tocsin user add") {
			script.WriteString(block)
		}
	}
	shell := exec.CommandContext(t.Context(), "bash", "-ec", "set -o pipefail\n"+
		strings.ReplaceAll(script.String(), "localhost:8080", strings.TrimPrefix(d.url, "http://")))
	shell.Dir, shell.Env = folder, append(os.Environ(), append(d.env, "TOCSIN_ADMIN_TOKEN="+adminToken, "TOKEN="+adminToken)...)
	out, err := shell.CombinedOutput()
	if err != nil || strings.Contains(string(out), `"status":4`) || strings.Contains(string(out), "curl:") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`"Critical"`, `{"received":1,"changed":1,"unchanged":0}`, `"outbox":0`, `"matches":true`} {
		if !strings.Contains(strings.ReplaceAll(string(out), `": `, `":`), want) {
			t.Errorf("the output lacks %s:\n%s", want, out)
		}
	}
}
