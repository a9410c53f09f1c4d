package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// clockStep is added to the package time of a program whose clock can be wrong: CLOCK_STEP=3600@2 puts it an hour ahead two
// seconds after the start. Like a real clock it steps without the monotonic one.
const clockStep = `package time

import "syscall"

var stepSeconds, stepAfter = func() (seconds, after int64) {
	text, _ := syscall.Getenv("CLOCK_STEP")
	n, sign := &seconds, int64(1)
	for i := range len(text) {
		switch c := text[i]; {
		case c == '-':
			sign = -1
		case c == '@':
			n = &after
		default:
			*n = *n*10 + int64(c-'0')
		}
	}
	return seconds * sign, after * int64(Second)
}()

func clockStep(mono int64) int64 {
	if mono-startNano < stepAfter {
		return 0
	}
	return stepSeconds
}
`

// buildClocked builds the program with a clock that can be wrong. Programs in Go ask the kernel directly for the time, so
// nothing but the standard library itself can put them wrong; all of it is built anew, once.
func buildClocked(t testing.TB) string {
	t.Helper()
	const reads, steps = "sec, nsec, mono := runtimeNow()\n", "sec += clockStep(mono)\n"
	root, err := exec.Command("go", "env", "GOROOT").Output() //nolint:noctx // it ends by itself
	if err != nil {
		t.Fatal(err)
	}
	std := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(std, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	now := "func Now() Time {\n\t" + reads
	if strings.Count(string(source), now) != 1 {
		t.Fatal("time.Now of this Go is another one: look for where its clock can be put wrong")
	}
	dir := t.TempDir()
	replace := map[string]string{}
	for name, text := range map[string]string{"time.go": strings.Replace(string(source), now, now+"\t"+steps, 1), "clockstep.go": clockStep} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(std, name)] = path
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return build(t, "-overlay", path)
}
