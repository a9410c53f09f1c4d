package torture

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/internal/testenv/program"
)

// clockStep is a file added to package time of a program whose clock can be wrong: CLOCK_STEP=3600@2 sets it an hour
// ahead two seconds after the start. The monotonic clock stays right, as it does when the clock of a machine is set.
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

// buildClocked builds the program with a clock that can be wrong. Go programs read the clock of the kernel directly, so
// only a changed standard library can give them a wrong one; all of it is compiled again, once.
func buildClocked(t testing.TB) string {
	t.Helper()
	const reads, steps = "sec, nsec, mono := runtimeNow()\n", "sec += clockStep(mono)\n"
	root, err := exec.Command("go", "env", "GOROOT").Output() //nolint:noctx // it ends by itself
	if err != nil {
		t.Fatal(err)
	}
	std := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(std, "time.go")) // #nosec G304 -- the standard library
	if err != nil {
		t.Fatal(err)
	}
	now := "func Now() Time {\n\t" + reads
	if strings.Count(string(source), now) != 1 {
		t.Fatal("time.Now of this version of Go differs: find the place where its clock can be set wrong")
	}
	dir := t.TempDir()
	replace := map[string]string{}
	changed := strings.Replace(string(source), now, now+"\t"+steps, 1)
	for name, text := range map[string]string{"time.go": changed, "clockstep.go": clockStep} {
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
	return program.Build(t, "-overlay", path)
}
