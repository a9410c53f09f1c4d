package testenv

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/internal/testenv/freeport"
)

// ReverseProxy is a reverse proxy of Debian.
type ReverseProxy string

// Reverse proxies, by the names of their programs and packages.
const (
	Nginx ReverseProxy = "nginx"
	Caddy ReverseProxy = "caddy"
)

// Start starts the proxy with a site, in its own language, that serves port 443 with the certificate of another
// machine, and returns where it listens instead. Its certificate is one that no client trusts. It ends with the test.
func (p ReverseProxy) Start(t testing.TB, site string) (address string) {
	t.Helper()
	address, s, err := p.start(site)
	if err != nil {
		t.Fatalf("start %s: %v", p, err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Logf("stop %s: %v", p, err)
		}
	})
	return address
}

func (p ReverseProxy) find() (string, error) {
	path, err := findOrInstall(string(p), func() (string, bool) {
		if path, err := exec.LookPath(string(p)); err == nil {
			return path, true
		}
		path := "/usr/sbin/" + string(p) // not in the PATH of every user
		_, err := os.Stat(path)
		return path, err == nil
	})
	if err != nil {
		return "", fmt.Errorf("the tests need %s: install it (apt-get install %[1]s): %w", p, err)
	}
	return path, nil
}

func (p ReverseProxy) start(site string) (address string, s *server, err error) {
	program, err := p.find()
	if err != nil {
		return "", nil, err
	}
	if s, err = newServer(string(p)); err != nil {
		return "", nil, err
	}
	s.deathKill = syscall.SIGTERM
	port, err := freeport.Take()
	plain, errPlain := freeport.Take()
	err = errors.Join(err, errPlain)
	address = fmt.Sprintf("127.0.0.1:%d", port)
	file := filepath.Join(s.dir, "configuration")
	switch p {
	case Nginx:
		err = errors.Join(err, writeCertificate(s.dir))
		site = nginxAround(s.dir, address, site)
		s.argv = []string{program, "-c", file, "-e", "stderr"}
	case Caddy:
		// HTTP/3 would need the UDP port, too.
		site = fmt.Sprintf("{\n\tadmin off\n\tlocal_certs\n\tskip_install_trust\n\tservers {\n\t\tprotocols h1 h2\n\t}\n"+
			"\tstorage file_system %s\n\tdefault_bind 127.0.0.1\n\thttps_port %d\n\thttp_port %d\n}\n%s",
			s.dir, port, plain, site)
		s.argv = []string{"/usr/bin/env", "HOME=" + s.dir, program, "run", "--adapter", "caddyfile", "--config", file}
	}
	s.ready = func(ctx context.Context) error { return listens(ctx, address, site) }
	err = errors.Join(err, os.WriteFile(file, []byte(site), 0o600))
	if err == nil {
		err = s.start()
	}
	if err != nil {
		return "", nil, errors.Join(err, s.close())
	}
	return address, s, nil
}

// listens reports an error until the proxy has a certificate.
func listens(ctx context.Context, address, site string) error {
	name := regexp.MustCompile(`\w+\.example\.com`).FindString(site)
	// #nosec G402 -- a certificate of this machine
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: name}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err == nil {
		err = conn.Close()
	}
	return err
}

// nginxAround makes a whole configuration of a server: with folders of its own, and the address and the certificate of
// this machine.
func nginxAround(dir, address, site string) string {
	site = strings.ReplaceAll(site, "listen 443 ", "listen "+address+" ")
	site = strings.ReplaceAll(site, "/etc/ssl/", dir+"/")
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n" // else its processes could not read the folder
	}
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	return user + "daemon off;\nworker_processes 1;\npid " + filepath.Join(dir, "pid") + ";\nevents {}\n" +
		"http {\naccess_log off;\n" + temp.String() + site + "\n}\n"
}

// writeCertificate writes tocsin.pem and tocsin.key into a folder.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	write := func(name, kind string, bytes []byte) error {
		return os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600)
	}
	return errors.Join(write("tocsin.pem", "CERTIFICATE", cert), write("tocsin.key", "PRIVATE KEY", private))
}
