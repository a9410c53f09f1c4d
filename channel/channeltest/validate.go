package channeltest

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/internal/testenv/node"
)

//go:embed validate/cards.cjs validate/webhooks.cjs
var validators embed.FS

// ValidateCards has the parser of npm's adaptivecards read each card, and TypeScript hold it against the types of
// @microsoft/teams.cards.
func ValidateCards(t *testing.T, cards map[string]json.RawMessage) {
	t.Helper()
	for _, f := range append(cardFaults(t, cards), typeFaults(t, "IAdaptiveCard", "@microsoft/teams.cards", cards)...) {
		t.Error(f)
	}
}

// ValidateBlocks has TypeScript hold each array of blocks against the types of @slack/types.
func ValidateBlocks(t *testing.T, blocks map[string]json.RawMessage) {
	t.Helper()
	for _, f := range typeFaults(t, "KnownBlock[]", "@slack/types", blocks) {
		t.Error(f)
	}
}

// Signed is a request as a receiver of signed webhooks sees it, and the secret that it knows.
type Signed struct {
	Secret  string            `json:"secret"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// ValidateSigned has npm's standardwebhooks verify each request.
func ValidateSigned(t *testing.T, requests map[string]Signed) {
	t.Helper()
	for _, f := range scriptFaults(t, "webhooks.cjs", requests) {
		t.Error(f)
	}
}

func cardFaults(t *testing.T, cards map[string]json.RawMessage) (faults []string) {
	t.Helper()
	return scriptFaults(t, "cards.cjs", cards)
}

// scriptFaults gives values to a script of the folder validate, and returns the faults that it finds.
func scriptFaults(t *testing.T, name string, values any) (faults []string) {
	t.Helper()
	modules := node.Modules(t)
	script := filepath.Join(t.TempDir(), name)
	source, err := validators.ReadFile("validate/" + name)
	if err == nil {
		err = os.WriteFile(script, source, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	// #nosec G204 -- files of this package
	cmd := exec.CommandContext(t.Context(), "node", script, modules)
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v", err)
	}
	if err := json.Unmarshal(out, &faults); err != nil {
		t.Fatalf("answer of node: %v", err)
	}
	return faults
}

// typeFaults compiles one file in which every value is a literal of the type typ of the package pkg: unknown properties
// and wrong words are faults.
func typeFaults(t *testing.T, typ, pkg string, values map[string]json.RawMessage) (faults []string) {
	t.Helper()
	modules, dir := node.Modules(t), t.TempDir()
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	fmt.Fprintf(&source, "import type { %s } from %q;\n", strings.TrimSuffix(typ, "[]"), pkg)
	for i, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&source, "export const v%d: %s = %s; // %s\n", i, typ, values[name], name)
	}
	file := filepath.Join(dir, "payloads.ts")
	if err := os.WriteFile(file, []byte(source.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	// #nosec G204 -- files of this package
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join(modules, "typescript", "bin", "tsc"),
		"--strict", "--noEmit", "--pretty", "false", "--module", "nodenext", "--target", "es2022", file)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		faults = append(faults, fmt.Sprintf("tsc: %v\n%.4000s", err, out))
	}
	return faults
}
