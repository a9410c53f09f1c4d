// Package freeport chooses ports for the programs that tests start.
package freeport

import (
	"errors"
	"net"
	"os"
	"sync"
)

// ports are those that this process has taken. They lie below the ports that the system chooses, so that no other
// program receives one before the process that listens on it starts, or while that process is restarted. Each test
// program begins at another port.
var ports = struct {
	sync.Mutex
	last  int
	taken []*net.UDPConn
}{last: 20_000 + os.Getpid()%400*25}

// Take returns a TCP port of 127.0.0.1 on which no program listens and which no other call returns, in this process
// or in another one that runs tests: a UDP socket of the same number marks it as taken until this process ends.
func Take() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		ports.last++
		address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: ports.last}
		mark, err := net.ListenUDP("udp4", (*net.UDPAddr)(address))
		if err != nil {
			continue
		}
		ports.taken = append(ports.taken, mark)
		l, err := net.ListenTCP("tcp4", address)
		if err == nil {
			return ports.last, l.Close()
		}
	}
	return 0, errors.New("no free port")
}
