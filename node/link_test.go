package node

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// link is a network in front of an address: who dials the link reaches it. Each of the
// two directions can be held back, delayed and narrowed, without losing or reordering a
// byte; connections can be cut, and new ones refused.
type link struct {
	to       string
	lose     func(subject string) bool // what a broker says that does not arrive; nil: nothing
	record   bool                      // keep what goes in
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced with every change of what follows
	ways     [2]way
	round    int    // counts cuts: what was read before one does not go on after it
	held     [2]int // connections of which something is held back
	refusing bool   // no connection comes about
	open     map[net.Conn]struct{}
	closed   bool
	recorded bytes.Buffer
}

// direction is one of the two ways through a link.
type direction int

const (
	into direction = iota // to where the link leads
	out                   // to who dialled
)

// way is what is done to one direction.
type way struct {
	held  bool
	delay time.Duration // of each byte
	rate  int           // bytes a second of each connection; 0: as they come
}

// A link holds little itself, so that who sends to a slow one soon cannot.
const (
	pieceSize  = 16 << 10
	pieces     = 16
	readBuffer = 64 << 10
)

// newLink listens for others; what comes goes to the address to.
func newLink(t *testing.T, to string, options ...func(*link)) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{to: to, listener: l, changed: make(chan struct{}), open: make(map[net.Conn]struct{})}
	for _, option := range options {
		option(k)
	}
	k.wg.Go(k.accept)
	t.Cleanup(k.close)
	return k
}

// recording keeps what goes in, for saw.
func recording(k *link) { k.record = true }

func (k *link) addr() string { return k.listener.Addr().String() }

func (k *link) url() string { return "nats://" + k.addr() }

// set changes something, and tells who waits.
func (k *link) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
	close(k.changed)
	k.changed = make(chan struct{})
}

// hold holds back what goes in, and what comes out.
func (k *link) hold(in, back bool) {
	k.set(func() { k.ways[into].held, k.ways[out].held = in, back })
}

// delay has every byte take so long, in each direction.
func (k *link) delay(in, back time.Duration) {
	k.set(func() { k.ways[into].delay, k.ways[out].delay = in, back })
}

// slow lets no more bytes a second through each connection, in each direction; 0 for as
// they come. What is sent faster fills the buffers of who sends it.
func (k *link) slow(in, back int) {
	k.set(func() { k.ways[into].rate, k.ways[out].rate = in, back })
}

// cut ends all connections; what is held back is lost. New ones may come.
func (k *link) cut() { k.set(k.drop) }

func (k *link) drop() {
	k.round++
	for c := range k.open {
		c.Close()
	}
	clear(k.open)
}

// refuse cuts, and lets no connection come about until it is allowed again.
func (k *link) refuse(refused bool) {
	k.set(func() {
		if k.refusing = refused; refused {
			k.drop()
		}
	})
}

// heal ends whatever was done but cuts; what was held back arrives.
func (k *link) heal() { k.set(func() { k.ways, k.refusing = [2]way{}, false }) }

// answersHeld returns on how many connections an answer is held back.
func (k *link) answersHeld() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held[out]
}

// saw reports whether text went in.
func (k *link) saw(text string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return bytes.Contains(k.recorded.Bytes(), []byte(text))
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
		if round, ok := k.keep(from, to); ok {
			k.wg.Go(func() { k.carry(to, from, into, round) })
			k.wg.Go(func() { k.carry(from, to, out, round) })
		}
	}
}

func (k *link) keep(conns ...net.Conn) (round int, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range conns {
		if k.closed || k.refusing {
			c.Close()
			continue
		}
		c.(*net.TCPConn).SetReadBuffer(readBuffer) // otherwise the kernel holds megabytes
		k.open[c] = struct{}{}
	}
	return k.round, !k.closed && !k.refusing
}

// piece is some bytes on their way.
type piece struct {
	data []byte
	came time.Time
}

// carry reads until one side ends. Another goroutine writes, so that what is delayed does
// not wait for what came before it to arrive.
func (k *link) carry(to, from net.Conn, d direction, round int) {
	queue := make(chan piece, pieces)
	k.wg.Go(func() {
		for p := range queue {
			if !k.pass(to, p, d, round) {
				break
			}
		}
		k.until(d, round, func(way) time.Time { return time.Time{} }) // the end is held back, too
		k.end(to, from)
		for range queue { // the reader may wait for room
		}
	})
	defer close(queue)
	read := k.reader(from, d)
	for {
		data, err := read()
		if len(data) > 0 {
			queue <- piece{data, time.Now()}
		}
		if err != nil {
			return
		}
	}
}

// reader returns what reads the next bytes.
func (k *link) reader(from net.Conn, d direction) func() ([]byte, error) {
	if k.lose != nil && d == out {
		return lossy(from, k.lose)
	}
	return func() ([]byte, error) {
		data := make([]byte, pieceSize)
		n, err := from.Read(data)
		return data[:n], err
	}
}

// pass delivers a piece when its time has come; false if it cannot.
func (k *link) pass(to net.Conn, p piece, d direction, round int) bool {
	if !k.until(d, round, func(w way) time.Time { return p.came.Add(w.delay) }) {
		return false
	}
	if k.record && d == into {
		k.mu.Lock()
		k.recorded.Write(p.data)
		k.mu.Unlock()
	}
	if _, err := to.Write(p.data); err != nil {
		return false
	}
	began := time.Now()
	return k.until(d, round, func(w way) time.Time {
		if w.rate == 0 {
			return began
		}
		return began.Add(time.Duration(len(p.data)) * time.Second / time.Duration(w.rate))
	})
}

// until waits until a direction is free and its time has come; false once the link is cut
// or closed.
func (k *link) until(d direction, round int, due func(way) time.Time) bool {
	for {
		k.mu.Lock()
		gone, w, changed := k.closed || k.round != round, k.ways[d], k.changed
		if !gone && w.held {
			k.held[d]++
		}
		k.mu.Unlock()
		left := time.Until(due(w))
		switch {
		case gone:
			return false
		case w.held:
			<-changed
			k.mu.Lock()
			k.held[d]--
			k.mu.Unlock()
		case left <= 0:
			return true
		default:
			select {
			case <-changed:
			case <-time.After(left):
			}
		}
	}
}

func (k *link) end(conns ...net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(k.open, c)
	}
}

func (k *link) close() {
	k.set(func() {
		k.closed = true
		k.drop()
	})
	k.listener.Close()
	k.wg.Wait()
}

// linked starts n1, n2, … whose Raft traffic goes through links, by id, and waits
// until they agree on a leader.
func linked(t *testing.T, size int, adjust ...func(*Config)) (nodes []*Node, links map[string]*link) {
	t.Helper()
	nodes = clusterOf(t, size, append([]func(*Config){withHTTP, func(c *Config) {
		if c.ID == "n1" { // the first of a set; the map of peers is everyone's
			links = make(map[string]*link)
			for id, addr := range c.Peers {
				links[id] = newLink(t, addr, recording)
				c.Peers[id] = links[id].addr()
			}
		}
		c.Raft = links[c.ID].to
	}}, adjust...)...)
	return nodes, links
}
