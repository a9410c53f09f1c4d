package database

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// boundSilence has a connection end when the other side has not acknowledged what was sent for the time of silence.
// Else Linux goes on trying for a quarter of an hour, and a query waits that long for a server that has vanished
// without a word.
func boundSilence(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}
