package channeltest

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

//go:embed validate/package.json validate/package-lock.json validate/cards.cjs validate/webhooks.cjs
var validators embed.FS

// install is done once a process; processes take turns.
var install = sync.OnceValues(installValidators)

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

// scriptFaults gives values to a script of the folder validate, and returns what it finds wrong.
func scriptFaults(t *testing.T, name string, values any) (faults []string) {
	t.Helper()
	modules := nodeModules(t)
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

// typeFaults compiles one file in which every value is a literal of the type: unknown properties and wrong words are
// faults.
func typeFaults(t *testing.T, typ, pkg string, values map[string]json.RawMessage) (faults []string) {
	t.Helper()
	modules, dir := nodeModules(t), t.TempDir()
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

func nodeModules(t *testing.T) string {
	t.Helper()
	dir, err := install()
	if err != nil {
		t.Fatalf("the validators of payloads are missing: %v", err)
	}
	return dir
}

// installValidators puts the packages of validate/package-lock.json into the user's cache, where they stay until the
// lock changes, and returns their folder.
func installValidators() (string, error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%s is needed to check payloads with the vendors' own types (Node.js 20 or newer): %w", tool,
				err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	lock, err := validators.ReadFile("validate/package-lock.json")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	dir := filepath.Join(cache, "tocsin-test-validators", hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	release, err := takeTurn(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer release()
	modules, done := filepath.Join(dir, "node_modules"), filepath.Join(dir, "installed")
	if _, err := os.Stat(done); err == nil {
		return modules, nil
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := validators.ReadFile("validate/" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), content, 0o600)
		}
		if err != nil {
			return "", err
		}
	}
	//nolint:noctx // it outlives the test that asks first
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return modules, os.WriteFile(done, nil, 0o600)
}

// takeTurn holds the lock file until release; the lock ends with the process that holds it.
func takeTurn(path string) (release func(), err error) {
	// #nosec G304 -- a file of this package
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
