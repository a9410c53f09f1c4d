package testenv

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/internal/testenv/freeport"
)

//go:embed install.sh
var installScript string

// findPostgres returns the folder with initdb and postgres, installing them where that is possible.
var findPostgres = sync.OnceValues(func() (string, error) {
	return findOrInstall("postgresql", func() (string, bool) {
		if path, err := exec.LookPath("initdb"); err == nil {
			if _, err := exec.LookPath("postgres"); err == nil {
				return filepath.Dir(path), true
			}
		}
		// Debian keeps them out of PATH.
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
		if len(found) == 0 {
			return "", false
		}
		newest := slices.MaxFunc(found, func(a, b string) int { return major(a) - major(b) })
		return filepath.Dir(newest), true
	})
})

// major is the 15 of /usr/lib/postgresql/15/bin/initdb.
func major(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// findRedis returns the path of redis-server, installing it where that is possible.
var findRedis = sync.OnceValues(func() (string, error) { return findOrInstall("redis-server", lookRedis) })

func lookRedis() (string, bool) {
	path, err := exec.LookPath("redis-server")
	return path, err == nil
}

var errNotInstalled = errors.New("not installed")

func findOrInstall(debianPackage string, look func() (string, bool)) (string, error) {
	if path, ok := look(); ok {
		return path, nil
	}
	_, errDebian := os.Stat("/etc/debian_version")
	_, errApt := exec.LookPath("apt-get")
	if os.Getuid() != 0 || errDebian != nil || errApt != nil {
		return "", errNotInstalled
	}
	fmt.Fprintf(os.Stderr, "testenv: installing the Debian package %s\n", debianPackage)
	if err := run("/bin/sh", "-c", installScript, "install.sh", debianPackage); err != nil {
		return "", fmt.Errorf("%w: %w", errNotInstalled, err)
	}
	if path, ok := look(); ok {
		return path, nil
	}
	return "", errNotInstalled
}

// dockerAnswers says whether there is not only a client but an engine behind it.
var dockerAnswers = sync.OnceValue(func() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").Run() == nil
})

// inContainer makes s run an image whose port is published on 127.0.0.1, and returns that port.
func (s *server) inContainer(image, port string, env, args []string) (int, error) {
	published, err := freeport.Take()
	if err != nil {
		return 0, err
	}
	s.container = filepath.Base(s.dir)
	s.guard.onDeath(s.cleanUp())
	create := []string{"create", "--name", s.container, "--publish", fmt.Sprintf("127.0.0.1:%d:%s", published, port)}
	for _, e := range env {
		create = append(create, "--env", e)
	}
	s.argv = []string{"docker", "start", "--attach", s.container}
	return published, run("docker", slices.Concat(create, []string{image}, args)...)
}

var findPython = sync.OnceValues(func() (string, error) {
	return findOrInstall("python3", func() (string, bool) {
		path, err := exec.LookPath("python3")
		return path, err == nil
	})
})

// Python returns the path of python3, installing it where that is possible.
func Python(t testing.TB) string {
	t.Helper()
	path, err := findPython()
	if err != nil {
		t.Fatalf("python3 is missing: %v", err)
	}
	return path
}
