package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/internal/testenv/program"
)

// ran runs a command within this process.
func ran(t *testing.T, env []string, args ...string) (code int, out, errors string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &terminal{out: &o, err: &e, environ: env})
	return code, o.String(), e.String()
}

// TestHelp: "help" is as good as "--help", and names all commands and variables; so does the manual page.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"--help"}, {"man"}} {
		code, out, _ := ran(t, nil, args...)
		if code != 0 {
			t.Errorf("%v: exit %d", args, code)
		}
		out = strings.ReplaceAll(out, `\-`, "-")
		for _, v := range config.Variables() {
			if v.About == "" || !strings.Contains(out, v.Name) || !strings.Contains(out, strings.ReplaceAll(v.About, "…", "...")) && !strings.Contains(out, v.About) {
				t.Errorf("%v says nothing of %s", args, v.Name)
			}
		}
		for _, command := range []string{"serve", "user passwd", "token revoke", "secobserve check", "migrate down", "health", "completion"} {
			if !strings.Contains(out, "\n  "+command) && !strings.Contains(out, "\n.B "+command) {
				t.Errorf("%v lacks %s:\n%s", args, command, out)
			}
		}
		if strings.Contains(out, "\n  complete ") || strings.Contains(out, "\n.B complete ") {
			t.Errorf("%v shows what only shells call", args)
		}
	}
	for _, command := range [][]string{{"user", "add"}, {"check"}, {"help"}} {
		_, want, _ := ran(t, nil, append(command, "--help")...)
		if code, got, _ := ran(t, nil, append([]string{"help"}, command...)...); code != 0 || got != want || want == "" {
			t.Errorf("help %v: exit %d\n%s", command, code, got)
		}
	}
}

// TestCompletion has bash complete command lines, where that of zsh and fish ask the same command.
func TestCompletion(t *testing.T) {
	t.Parallel()
	binary, err := program.Binary()
	if err != nil {
		t.Fatal(err)
	}
	script := `PATH="` + filepath.Dir(binary) + `:$PATH"; source <(tocsin completion bash)
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _tocsin; echo "${COMPREPLY[@]}"`
	for line, want := range map[string]string{
		"tocsin us":                     "user",
		"tocsin user ":                  "add list passwd",
		"tocsin user add --":            "--help --admin --email --full-name",
		"tocsin token create --scope ":  "ingest user",
		"tocsin token create --scope i": "ingest",
		"tocsin completion ":            "bash zsh fish",
		"tocsin migrate down --y":       "--yes",
		"tocsin compl":                  "completion",
		"tocsin nothing":                "",
	} {
		out, err := exec.CommandContext(t.Context(), "bash", append([]string{"-c", script, "bash"}, strings.Split(line, " ")...)...).CombinedOutput()
		if diff := cmp.Diff(want, strings.TrimSpace(string(out))); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", line, err, diff)
		}
	}
	for _, shell := range []string{"zsh", "fish"} {
		if code, out, _ := ran(t, nil, "completion", shell); code != 0 || !strings.Contains(out, "tocsin complete -- ") {
			t.Errorf("%s: exit %d\n%s", shell, code, out)
		}
	}
}

// TestHealth asks a process that is ready, one that is not, and one that does not run.
func TestHealth(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			w.WriteHeader(status)
			fmt.Fprint(w, `{"status":"x"}`)
		}
	}))
	defer s.Close()
	address := strings.TrimPrefix(s.URL, "http://")
	_, port, _ := strings.Cut(address, ":")
	nobody := "TOCSIN_LISTEN=127.0.0.1:" + program.FreePort(t)
	for _, env := range [][]string{{"TOCSIN_LISTEN=" + address}, {"PORT=" + port}, {"TOCSIN_METRICS_LISTEN=:" + port, nobody}} {
		if code, out, errors := ran(t, env, "health"); code != 0 || out != `{"status":"x"}`+"\n" {
			t.Errorf("%v: exit %d, %s%s", env, code, out, errors)
		}
	}
	status = http.StatusServiceUnavailable
	if code, _, errors := ran(t, []string{"TOCSIN_LISTEN=" + address}, "health"); code != 1 || !strings.Contains(errors, "is not ready: 503") {
		t.Errorf("exit %d, %s", code, errors)
	}
	if code, _, _ := ran(t, []string{nobody}, "health"); code != 1 {
		t.Errorf("exit %d", code)
	}
}
