package torture

import (
	"net"
	"sync"
	"testing"
)

// proxy is a TCP proxy before a server that can cut, hold or forget its connections.
type proxy struct {
	listener         net.Listener
	network, address string // of the server

	mu    sync.Mutex
	moved sync.Cond // a field below, or of a pair, has changed
	held  bool
	ended bool
	pairs map[*pair]bool
	wg    sync.WaitGroup
}

// pair is the two sides of a connection through a proxy.
type pair struct {
	client, server    net.Conn
	forgotten, closed bool
}

func newProxy(t testing.TB, network, address string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // on this machine
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, network: network, address: address, pairs: map[*pair]bool{}}
	p.moved.L = &p.mu
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) port() string {
	_, port, _ := net.SplitHostPort(p.listener.Addr().String())
	return port
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.connect(&pair{client: client}) })
	}
}

func (p *proxy) connect(c *pair) {
	defer c.client.Close()
	p.mu.Lock()
	p.pairs[c] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pairs, c)
	}()
	if !p.pass(c) {
		return
	}
	server, err := net.Dial(p.network, p.address) //nolint:noctx // on this machine
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	c.server = server
	p.mu.Unlock()
	p.wg.Go(func() { p.pump(c, server, c.client) })
	p.pump(c, c.client, server)
}

// pump copies from one side to the other; the end of one side closes both.
func (p *proxy) pump(c *pair, from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !p.pass(c) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// pass waits while the connection is held, and reports whether it is still open.
func (p *proxy) pass(c *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for (p.held || c.forgotten) && !c.closed && !p.ended {
		p.moved.Wait()
	}
	return !c.closed && !p.ended
}

// hold stops all traffic: connections stay open without an answer.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
}

// release ends a hold; the bytes that were held are passed on.
func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	p.moved.Broadcast()
}

// forget stops the traffic of all present connections for ever; new ones work.
func (p *proxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.forgotten = true
	}
}

// cut resets all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.closed = true
		for _, side := range []net.Conn{c.client, c.server} {
			if tcp, ok := side.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			if side != nil {
				_ = side.Close()
			}
		}
	}
	p.moved.Broadcast()
}
