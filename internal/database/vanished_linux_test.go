package database

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBoundSilence(t *testing.T) {
	t.Parallel()
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		l, err := new(net.ListenConfig).Listen(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		conn, err := (&net.Dialer{Control: boundSilence}).DialContext(t.Context(), network, l.Addr().String())
		if err != nil {
			t.Fatalf("%s: %v", network, err)
		}
		defer conn.Close()
		if network != "tcp" {
			continue // there is nothing to set
		}
		raw, err := conn.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var got int
		if e := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); e != nil || err != nil {
			t.Fatal(e, err)
		}
		if got != int(silence.Milliseconds()) {
			t.Errorf("%d ms", got)
		}
	}
}
