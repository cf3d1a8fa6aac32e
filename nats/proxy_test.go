package nats

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// direction is one of the two ways through a proxy.
type direction int

const (
	toBroker direction = iota
	toClient
)

// proxy stands between a client and a broker and has faults on demand: it cuts
// connections, refuses new ones, or stops to read and forward in a direction,
// which is what a stalled host looks like.
type proxy struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	ways [2]way

	mu      sync.Mutex
	refused bool
	links   map[net.Conn]struct{} // both ends of each
}

// way is held while something is forwarded, so that after stall nothing is.
type way struct {
	mu      sync.Mutex
	changed *sync.Cond
	stalled bool
	muted   bool // stalled for connections that are beyond the handshake
	round   int  // counts cuts: what was read before one is not forwarded after it
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, links: make(map[net.Conn]struct{})}
	for i := range p.ways {
		p.ways[i].changed = sync.NewCond(&p.ways[i].mu)
	}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.refuse()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		broker, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		if p.refused {
			client.Close()
			broker.Close()
		} else {
			p.links[client], p.links[broker] = struct{}{}, struct{}{}
			round := p.ways[toBroker].now()
			p.wg.Go(func() { p.forward(toBroker, round, broker, client) })
			p.wg.Go(func() { p.forward(toClient, round, client, broker) })
		}
		p.mu.Unlock()
	}
}

func (p *proxy) forward(d direction, round int, dst, src net.Conn) {
	defer dst.Close()
	defer src.Close()
	w := &p.ways[d]
	buf := make([]byte, 32<<10)
	connected := false
	for {
		n, err := src.Read(buf)
		if err != nil || !w.pass(round, connected, dst, buf[:n]) {
			return
		}
		connected = connected || bytes.HasPrefix(buf[:n], []byte("PONG"))
	}
}

func (w *way) now() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.round
}

func (w *way) pass(round int, connected bool, dst net.Conn, data []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for (w.stalled || w.muted && connected) && w.round == round {
		w.changed.Wait()
	}
	if w.round != round {
		return false
	}
	_, err := dst.Write(data)
	return err == nil
}

func (w *way) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	w.changed.Broadcast()
}

// stall stops a direction, of new connections too. It returns when nothing is
// being forwarded.
func (p *proxy) stall(d direction) { p.ways[d].set(func() { p.ways[d].stalled = true }) }

// mute stalls what the broker says, but lets new connections come about: its
// answer to their first ping still arrives.
func (p *proxy) mute() { p.ways[toClient].set(func() { p.ways[toClient].muted = true }) }

// resume ends a stall.
func (p *proxy) resume(d direction) {
	p.ways[d].set(func() { p.ways[d].stalled, p.ways[d].muted = false, false })
}

// cut ends all connections. What they had not delivered is lost.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.links {
		c.Close()
	}
	clear(p.links)
	for i := range p.ways {
		p.ways[i].set(func() { p.ways[i].round++ })
	}
}

// refuse cuts, and accepts no connection until allow.
func (p *proxy) refuse() {
	p.mu.Lock()
	p.refused = true
	p.mu.Unlock()
	p.cut()
}

func (p *proxy) allow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused = false
}
