package linear

import (
	"net"
	"sync"
	"testing"
)

// network is what the Raft traffic of a cluster goes through: from each node to
// each other over a link of its own, which can be cut, one way or both.
type network struct {
	links map[[2]int]*link // from, to
}

// newNetwork links nodes that listen, or will, on these addresses.
func newNetwork(t *testing.T, addrs []string) *network {
	t.Helper()
	n := &network{links: make(map[[2]int]*link)}
	for i := range addrs {
		for j, target := range addrs {
			if i != j {
				n.links[[2]int{i, j}] = newLink(t, target)
			}
		}
	}
	return n
}

// addr is where node from reaches node to.
func (n *network) addr(from, to int) string {
	return n.links[[2]int{from, to}].listener.Addr().String()
}

// cut lets nothing from one node to another: neither what it asks nor what it
// answers. Nothing is closed, and what is sent waits, as in a network that loses
// packets and sends them again.
func (n *network) cut(from, to int) {
	n.links[[2]int{from, to}].ways[there].set(true)
	n.links[[2]int{to, from}].ways[back].set(true)
}

// heal ends every cut. What was held up arrives now, late; or its connections
// break, and it is lost.
func (n *network) heal(deliver bool) {
	for _, l := range n.links {
		if !deliver {
			l.reset()
		}
		for i := range l.ways {
			l.ways[i].set(false)
		}
	}
}

// The ways of a link, as seen by who connects.
const (
	there = iota
	back
)

// link forwards connections to target.
type link struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup
	ways     [2]way

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]*connection
}

// connection is one that goes through a link, with its two ends.
type connection struct {
	ends  [2]net.Conn
	ended chan struct{}
}

// way is one direction of a link.
type way struct {
	mu   sync.Mutex
	open chan struct{} // closed while data may pass
}

func (w *way) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.open:
		if cut {
			w.open = make(chan struct{})
		}
	default:
		if !cut {
			close(w.open)
		}
	}
}

func (w *way) passage() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}

func newLink(t *testing.T, target string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{listener: listener, target: target, open: make(map[net.Conn]*connection)}
	for i := range l.ways {
		l.ways[i].open = make(chan struct{})
		close(l.ways[i].open)
	}
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		listener.Close()
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.reset()
		l.wg.Wait()
	})
	return l
}

func (l *link) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.target)
		if err != nil {
			near.Close()
			continue
		}
		c := &connection{ends: [2]net.Conn{near, far}, ended: make(chan struct{})}
		l.mu.Lock()
		if l.closed {
			near.Close()
			far.Close()
		} else {
			l.open[near] = c
			var both sync.WaitGroup
			both.Go(func() { l.forward(&l.ways[there], c, far, near) })
			both.Go(func() { l.forward(&l.ways[back], c, near, far) })
			l.wg.Go(func() {
				both.Wait()
				l.mu.Lock()
				delete(l.open, near)
				l.mu.Unlock()
			})
		}
		l.mu.Unlock()
	}
}

// forward passes on what comes until one of the ends closes, or the connection is
// reset.
func (l *link) forward(w *way, c *connection, to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-w.passage():
		case <-c.ended:
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// reset breaks every connection. What it had not delivered is lost.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for near, c := range l.open {
		close(c.ended)
		for _, end := range c.ends {
			end.Close()
		}
		delete(l.open, near)
	}
}
