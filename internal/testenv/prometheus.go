package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seed91453169/tocsin/internal/testenv/freeport"
)

// findPrometheus returns the folder with prometheus and promtool, installing them where that is possible.
var findPrometheus = sync.OnceValues(func() (string, error) {
	folder, err := findOrInstall("prometheus", func() (string, bool) {
		path, err := exec.LookPath("prometheus")
		if err == nil {
			_, err = exec.LookPath("promtool")
		}
		return filepath.Dir(path), err == nil
	})
	if err != nil {
		return "", fmt.Errorf("the tests need Prometheus: install it (apt-get install prometheus): %w", err)
	}
	return folder, nil
})

// Promtool runs promtool, which must succeed.
func Promtool(t testing.TB, args ...string) {
	t.Helper()
	folder, err := findPrometheus()
	if err == nil {
		err = run(filepath.Join(folder, "promtool"), args...)
	}
	if err != nil {
		t.Error(err)
	}
}

// Prometheus starts a Prometheus with a configuration and returns its URL. It ends with the test.
func Prometheus(t testing.TB, config string) string {
	t.Helper()
	address, s, err := startPrometheus(config)
	if err != nil {
		t.Fatalf("start Prometheus: %v", err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Logf("stop Prometheus: %v", err)
		}
	})
	return address
}

func startPrometheus(config string) (address string, s *server, err error) {
	folder, err := findPrometheus()
	if err != nil {
		return "", nil, err
	}
	if s, err = newServer("prometheus"); err != nil {
		return "", nil, err
	}
	port, err := freeport.Take()
	file := filepath.Join(s.dir, "prometheus.yml")
	err = errors.Join(err, os.WriteFile(file, []byte(config), 0o600))
	address = fmt.Sprintf("http://127.0.0.1:%d", port)
	if err == nil {
		s.argv = []string{
			filepath.Join(folder, "prometheus"), "--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(s.dir, "data"),
			fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port), "--log.level=warn",
		}
		s.ready = func(ctx context.Context) error {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/-/ready", nil)
			if err != nil {
				return err
			}
			answer, err := new(http.Client).Do(r)
			if err != nil {
				return err
			}
			defer func() { _ = answer.Body.Close() }()
			if answer.StatusCode != http.StatusOK {
				return errors.New(answer.Status)
			}
			return nil
		}
		err = s.start()
	}
	if err != nil {
		return "", nil, errors.Join(err, s.close())
	}
	return address, s, nil
}
