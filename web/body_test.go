package web

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// pipeListener hands out the server's end of one connection.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l pipeListener) Close() error   { close(l); return nil }
func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// TestBodyStandsStill: a body may be slow, but not for ever, and one that stands still ends the waiting.
func TestBodyStandsStill(t *testing.T) {
	t.Parallel()
	const token = "the-token-of-the-tests-0123456789"
	for _, c := range []struct {
		name, media string
		every       time.Duration // a byte comes
		after       time.Duration // the answer comes, about
		status      int
	}{
		{"stands still", "application/json", time.Hour, bodyPause, http.StatusRequestTimeout},
		{"trickles", "application/json", 20 * time.Second, jsonTime, http.StatusRequestTimeout},
		{"lines stand still", mediaNDJSON, time.Hour, bodyPause, http.StatusRequestTimeout},
		{"lines trickle", mediaNDJSON, 20 * time.Second, 50 * 20 * time.Second, http.StatusUnprocessableEntity},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := NewServer(New(Config{AdminToken: token, Log: zerolog.Nop()}), zerolog.Nop())
			listener := make(pipeListener)
			go func() { _ = server.Serve(listener) }()
			client, end := net.Pipe()
			listener <- end
			path := "PUT /api/v1/products/1"
			if c.media == mediaNDJSON {
				path = "POST /api/v1/observations"
			}
			started, done := time.Now(), make(chan struct{})
			defer close(done)
			go func() {
				_, _ = io.WriteString(client, path+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+"\r\nContent-Type: "+c.media+"\r\nContent-Length: 51\r\n\r\n{")
				for _, b := range strings.Repeat(" ", 49) + "!" {
					select {
					case <-time.After(c.every):
					case <-done:
						return
					}
					if _, err := client.Write([]byte{byte(b)}); err != nil {
						return
					}
				}
			}()
			res, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if res.StatusCode != c.status || time.Since(started).Round(time.Second) != c.after {
				t.Errorf("%s: %d after %v", c.name, res.StatusCode, time.Since(started))
			}
			_ = res.Body.Close()
			_ = client.Close()
			_ = server.Close()
		})
	}
}

// TestSlowHeader: neither a header that trickles nor a connection that says nothing holds on for ever.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, begin string
		every       time.Duration // a byte comes
		after       time.Duration // the server closes, about
	}{
		{"says nothing", "", time.Hour, 10 * time.Second},
		{"half a header", "GET /healthz HTTP/1.1\r\nX: ", time.Hour, 10 * time.Second},
		{"trickles", "GET /healthz HTTP/1.1\r\nX: ", time.Second, 10 * time.Second},
		{"idle", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", time.Hour, 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := NewServer(New(Config{Log: zerolog.Nop()}), zerolog.Nop())
			listener := make(pipeListener)
			go func() { _ = server.Serve(listener) }()
			client, end := net.Pipe()
			listener <- end
			started, done := time.Now(), make(chan struct{})
			defer close(done)
			go func() {
				_, _ = io.WriteString(client, c.begin)
				for {
					select {
					case <-time.After(c.every):
					case <-done:
						return
					}
					if _, err := io.WriteString(client, "x"); err != nil {
						return
					}
				}
			}()
			_, _ = io.Copy(io.Discard, client) // until the server closes
			if took := time.Since(started).Round(time.Second); took != c.after {
				t.Errorf("%s: closed after %v", c.name, took)
			}
			_ = client.Close()
			_ = server.Close()
		})
	}
}

// TestNobodyReads: who asks and does not read the answers keeps no connection, and who reads slowly gets all.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	const token = "the-token-of-the-tests-0123456789"
	const page, whole = "GET /static/tocsin.css HTTP/1.1\r\nHost: x\r\n\r\n", "GET /api/openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for _, c := range []struct {
		name, request string
		every         time.Duration // so many bytes are read
		bytes         int
		broken        bool
	}{
		{"reads nothing", page, time.Hour, 1, true},
		{"reads no error", "GET /api/v1/products HTTP/1.1\r\nHost: x\r\n\r\n", time.Hour, 1, true},
		{"reads no broken request's answer", "GET\r\n\r\n", time.Hour, 1, true},
		{"begins to read", whole, time.Hour, 100, true},
		{"reads slowly", whole, 9 * time.Second, 8 << 10, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := NewServer(New(Config{AdminToken: token, Log: zerolog.Nop()}), zerolog.Nop())
			listener := make(pipeListener)
			go func() { _ = server.Serve(listener) }()
			client, end := net.Pipe()
			listener <- end
			asked := make(chan struct{})
			go func() {
				defer close(asked)
				_, _ = io.WriteString(client, c.request)
			}()
			<-asked
			started, got := time.Now(), 0
			buffer := make([]byte, c.bytes)
			var err error
			for err == nil {
				<-time.After(c.every)
				var n int
				n, err = io.ReadFull(client, buffer)
				got += n
			}
			if c.broken && got >= 4096 || !c.broken && got < 50<<10 {
				t.Errorf("%s: %d bytes after %v, then %v", c.name, got, time.Since(started), err)
			}
			_ = client.Close()
			_ = server.Close()
		})
	}
}
