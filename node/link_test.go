package node

import (
	"net"
	"sync"
	"testing"
)

// link is a network in front of a node's Raft port: the others reach the node
// through it. It can hold back what goes into the node or what comes out of it,
// without losing a byte, as a network does that is cut and heals.
type link struct {
	to       string
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	in, out bool // held back
	round   int  // counts cuts: what was read before one does not go on after it
	waiting int  // connections with an answer that is held back
	open    map[net.Conn]struct{}
	closed  bool
}

// newLink listens for others; what comes goes to the address to.
func newLink(t *testing.T, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{to: to, listener: l, open: make(map[net.Conn]struct{})}
	k.changed = sync.NewCond(&k.mu)
	k.wg.Go(k.accept)
	t.Cleanup(k.close)
	return k
}

func (k *link) addr() string { return k.listener.Addr().String() }

// hold holds back what goes into the node, and what comes out of it.
func (k *link) hold(in, out bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.in, k.out = in, out
	k.changed.Broadcast()
}

// answersHeld returns on how many connections an answer is held back.
func (k *link) answersHeld() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.waiting
}

func (k *link) accept() {
	for {
		from, err := k.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", k.to)
		if err != nil {
			from.Close()
			continue
		}
		round, ok := k.keep(from, to)
		if !ok {
			return
		}
		k.wg.Go(func() { k.pass(to, from, &k.in, round, false) })
		k.wg.Go(func() { k.pass(from, to, &k.out, round, true) })
	}
}

func (k *link) keep(conns ...net.Conn) (round int, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range conns {
		if k.closed {
			c.Close()
			continue
		}
		k.open[c] = struct{}{}
	}
	return k.round, !k.closed
}

// cut ends all connections; what is held back is lost. New ones may come.
func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.round++
	k.changed.Broadcast()
	for c := range k.open {
		c.Close()
	}
	clear(k.open)
}

// pass copies until one side ends, and waits while held is true.
func (k *link) pass(to, from net.Conn, held *bool, round int, answers bool) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && k.wait(held, round, answers) {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait blocks while the direction is held back; false once the link is cut or closed.
func (k *link) wait(held *bool, round int, answers bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if answers {
		k.waiting++
		defer func() { k.waiting-- }()
	}
	for *held && !k.closed && k.round == round {
		k.changed.Wait()
	}
	return !k.closed && k.round == round
}

func (k *link) close() {
	k.mu.Lock()
	k.closed = true
	k.changed.Broadcast()
	for c := range k.open {
		c.Close()
	}
	k.mu.Unlock()
	k.listener.Close()
	k.wg.Wait()
}

// linked starts n1, n2, … whose Raft traffic goes through links, by id, and waits
// until they agree on a leader.
func linked(t *testing.T, size int) (nodes []*Node, links map[string]*link) {
	t.Helper()
	nodes = clusterOf(t, size, withHTTP, func(c *Config) {
		if c.ID == "n1" { // the first of a set; the map of peers is everyone's
			links = make(map[string]*link)
			for id, addr := range c.Peers {
				links[id] = newLink(t, addr)
				c.Peers[id] = links[id].addr()
			}
		}
		c.Raft = links[c.ID].to
	})
	return nodes, links
}
