package node

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
)

// lossy stands between a broker and its clients and loses events: those that lose, which
// is called for one after the other with its subject, says it does. All else passes.
type lossy struct {
	to       string
	lose     func(subject string) bool
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

func newLossy(t *testing.T, to string, lose func(subject string) bool) *lossy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lossy{to: to, lose: lose, listener: l, open: make(map[net.Conn]struct{})}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *lossy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *lossy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		broker, err := net.Dial("tcp", p.to)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		if p.closed {
			client.Close()
			broker.Close()
		}
		p.open[client], p.open[broker] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() {
			defer broker.Close()
			io.Copy(broker, client) // until either side ends
		})
		p.wg.Go(func() {
			defer client.Close()
			p.filter(client, bufio.NewReader(broker))
		})
	}
}

// filter passes on what the broker says: lines, of which those of messages announce so
// many bytes that follow.
func (p *lossy) filter(to io.Writer, from *bufio.Reader) {
	for {
		message, err := from.ReadBytes('\n')
		if err != nil {
			return
		}
		fields := bytes.Fields(message)
		if len(fields) > 3 && (string(fields[0]) == "HMSG" || string(fields[0]) == "MSG") {
			size, err := strconv.Atoi(string(fields[len(fields)-1]))
			if err != nil {
				return
			}
			body := make([]byte, size+len("\r\n"))
			if _, err := io.ReadFull(from, body); err != nil {
				return
			}
			if p.lose(string(fields[1])) {
				continue
			}
			message = append(message, body...)
		}
		if _, err := to.Write(message); err != nil {
			return
		}
	}
}

func (p *lossy) close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}
