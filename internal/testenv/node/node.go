// Package node has the validators from npm that tests run: those of the vendors that Tocsin sends to, and those of
// OpenAPI documents.
package node

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

//go:embed package.json package-lock.json
var files embed.FS

// install is done once a process; processes take turns.
var install = sync.OnceValues(installPackages)

// Modules returns the folder node_modules with the packages of package.json.
func Modules(t testing.TB) string {
	t.Helper()
	dir, err := install()
	if err != nil {
		t.Fatalf("the validators from npm are missing: %v", err)
	}
	return dir
}

// Run runs a program of the packages in the folder dir and returns what it prints.
func Run(t testing.TB, dir string, args ...string) (string, error) {
	t.Helper()
	// #nosec G204 -- a program of package.json
	cmd := exec.CommandContext(t.Context(), filepath.Join(Modules(t), ".bin", args[0]), args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// installPackages puts the packages of package-lock.json into the user's cache, where they stay until the
// lock changes, and returns their folder.
func installPackages() (string, error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%s is needed to check what others define (Node.js 20 or newer): %w", tool,
				err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	lock, err := files.ReadFile("package-lock.json")
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
		content, err := files.ReadFile(name)
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
