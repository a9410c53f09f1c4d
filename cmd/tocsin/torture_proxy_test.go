package main

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands between our processes and a server, and can cut or hold the connections through it.
type proxy struct {
	listener         net.Listener
	network, address string // of the server

	mu    sync.Mutex
	moved sync.Cond // held or closed has changed
	held  bool
	ended bool
	conns map[net.Conn]net.Conn // each side with the other
	wg    sync.WaitGroup
}

func newProxy(t testing.TB, network, address string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // on this machine
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, network: network, address: address, conns: map[net.Conn]net.Conn{}}
	p.moved.L = &p.mu
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.release()
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) port() string { return portOf(p.listener.Addr().String()) }

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.connect(client) })
	}
}

func (p *proxy) connect(client net.Conn) {
	defer client.Close()
	p.pass()
	server, err := net.Dial(p.network, p.address) //nolint:noctx // on this machine
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return
	}
	p.conns[client], p.conns[server] = server, client
	p.mu.Unlock()
	p.wg.Go(func() { p.pump(server, client) })
	p.pump(client, server)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

// pump passes on what comes from one side; its end is the end of both.
func (p *proxy) pump(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	_, _ = io.Copy(passing{to, p}, struct{ io.Reader }{from})
}

// passing is a connection that takes nothing while the proxy holds.
type passing struct {
	io.Writer
	p *proxy
}

func (c passing) Write(b []byte) (int, error) {
	c.p.pass()
	return c.Writer.Write(b)
}

// pass waits while the proxy holds.
func (p *proxy) pass() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.held {
		p.moved.Wait()
	}
}

// hold lets nothing through any more: connections stay open, and nobody answers.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
}

// release ends a hold; what was held goes on its way.
func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	p.moved.Broadcast()
}

// cut resets all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}
