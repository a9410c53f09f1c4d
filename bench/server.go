package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const startTime = 30 * time.Second

// program is a running process, with the end of its log in a file.
type program struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// startProgram runs a program whose output goes to a file in dir.
func startProgram(dir string, env []string, cred *syscall.Credential, path string, args ...string) (*program, error) {
	out, err := os.CreateTemp(dir, filepath.Base(path)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	p := &program{cmd: exec.Command(path, args...), log: out.Name(), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, env, out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: cred, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	return p, nil
}

// stop ends the process with the signal.
func (p *program) stop(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s)
	select {
	case <-p.done:
	case <-time.After(startTime):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// until waits until check succeeds.
func (p *program) until(check func() error) error {
	var err error
	for end := time.Now().Add(startTime); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return nil
		}
		select {
		case <-p.done:
			text, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s ended: %s", p.cmd.Path, text[max(0, len(text)-2000):])
		default:
		}
	}
	return fmt.Errorf("%s does not answer: %w", p.cmd.Path, err)
}

// cpu is the CPU time that the process and its children have used, in seconds; the children that have ended are
// included.
func (p *program) cpu() float64 {
	pid := p.cmd.Process.Pid
	sum := cpuOf(pid)
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for field := range strings.FieldsSeq(string(children)) {
		if child, err := strconv.Atoi(field); err == nil {
			sum += cpuOf(child)
		}
	}
	return sum
}

// cpuOf is the CPU time of one process and of its children that have ended.
func cpuOf(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	ticks := 0.0
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime of proc(5)
		n, _ := strconv.ParseFloat(field, 64)
		ticks += n
	}
	return ticks / 100 // USER_HZ
}

// peak is the most memory that the process had, in MiB.
func (p *program) peak() float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024
		}
	}
	return 0
}

func freePort() string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		panic(err) // this machine has no loopback
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// postgres is one PostgreSQL for the whole run; each measurement has a database of its own.
type postgres struct {
	*program
	socket    string
	databases int
}

// startPostgres starts a server with the settings of PostgreSQL itself, but for a write-ahead log that is large enough
// to keep checkpoints out of a measurement.
func startPostgres(dir string, fsync bool) (*postgres, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, "pg")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	cred, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "--pgdata="+filepath.Join(dir, "data"), "--username=postgres",
		"--auth=trust",
		"--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Credential: cred}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	p, err := startProgram(dir, nil, cred, filepath.Join(bin, "postgres"), "-D", filepath.Join(dir, "data"), "-k", dir,
		"-c", "listen_addresses=", "-c", "max_connections=300", "-c", "max_wal_size=8GB", "-c", "checkpoint_timeout=1h",
		"-c", "fsync="+map[bool]string{true: "on", false: "off"}[fsync])
	if err != nil {
		return nil, err
	}
	pg := &postgres{program: p, socket: dir}
	return pg, p.until(func() error { return pg.exec("postgres", "SELECT 1") })
}

func postgresBin() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(path), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed")
	}
	return found[len(found)-1], nil
}

// unprivileged is how PostgreSQL is run where we are root, which it refuses to be; the folder becomes its own.
func unprivileged(dir string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(dir, int(uid), int(gid))
}

func (pg *postgres) url(database string) string {
	return "postgres://postgres@/" + database + "?host=" + pg.socket + "&port=5432&sslmode=disable"
}

// newDatabase makes an empty database and returns its URL and its name.
func (pg *postgres) newDatabase() (url, name string, err error) {
	pg.databases++
	name = "bench" + strconv.Itoa(pg.databases)
	err = pg.exec("postgres", "CREATE DATABASE "+name)
	return pg.url(name), name, err
}

func (pg *postgres) drop(name string) { _ = pg.exec("postgres", "DROP DATABASE "+name+" WITH (FORCE)") }

// exec runs statements, one by one.
func (pg *postgres) exec(database string, statements ...string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, pg.url(database))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%.60s: %w", s, err)
		}
	}
	return nil
}

// startRedis starts a server that keeps nothing, and returns it with its URL.
func startRedis(dir string) (*program, string, error) {
	port := freePort()
	p, err := startProgram(dir, nil, nil, "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "",
		"--maxmemory-policy", "noeviction", "--dir", dir)
	if err != nil {
		return nil, "", err
	}
	return p, "redis://127.0.0.1:" + port + "/0", p.until(func() error {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// get is a GET that must be answered with 200.
func get(url string) error {
	r, err := http.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	_, _ = io.Copy(io.Discard, r.Body)
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, r.Status)
	}
	return nil
}

// median is the middle of values.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// quantile is the value below which the part q of values lies.
func quantile(values []time.Duration, q float64) time.Duration {
	s := slices.Sorted(slices.Values(values))
	return s[min(int(float64(len(s))*q), len(s)-1)]
}
