package node

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"time"
)

// raftPort is a node's Raft address, shared by Raft and by what the nodes ask each
// other over HTTP about membership. Whoever may connect there may do everything in
// the cluster already, so it is the one place where nodes know each other without
// another address, and another secret.
//
// The first byte of a connection tells which it is: Raft's begin with a greeting
// (hello), and requests of HTTP with a letter.
type raftPort struct {
	listener net.Listener
	secure   *raftTLS
	door     *door
	raft     *half
	http     *half
	done     chan struct{} // closed by Close
	wg       sync.WaitGroup

	mu     sync.Mutex
	fresh  map[net.Conn]struct{} // connections of which nothing is known yet
	closed bool
}

const (
	firstByteTimeout = 10 * time.Second // to tell what a connection is for, and to be taken
	lastControl      = ' '              // no request of HTTP begins with this or less
)

// newRaftPort listens, and takes nothing for Raft until that half is opened. Connections are
// encrypted if secure is not nil. Those of whom nobody knows yet that he is a node, and
// those of HTTP, come through the door.
func newRaftPort(addr string, secure *raftTLS, door *door) (*raftPort, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &raftPort{listener: l, secure: secure, door: door, done: make(chan struct{}), fresh: make(map[net.Conn]struct{})}
	p.raft, p.http = newHalf(l.Addr()), newHalf(l.Addr())
	p.http.open()
	p.wg.Go(p.accept)
	return p, nil
}

// Close ends both halves, stops listening, and closes what was accepted and not
// handed out.
func (p *raftPort) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.done)
	fresh := p.fresh
	p.fresh = nil
	p.mu.Unlock()
	errs := []error{p.raft.Close(), p.http.Close(), p.listener.Close()}
	for c := range fresh {
		c.Close() // whoever was about to read from it learns of it
	}
	p.wg.Wait()
	return errors.Join(errs...)
}

func (p *raftPort) accept() {
	for {
		conn, err := p.listener.Accept()
		select {
		case <-p.done:
			if err == nil {
				conn.Close()
			}
			return
		default:
		}
		if err != nil { // out of file descriptors, say
			select {
			case <-time.After(acceptPause):
			case <-p.done:
				return
			}
			continue
		}
		if _, ok := p.door.enter(conn); !ok {
			conn.Close()
			continue
		}
		if p.secure != nil {
			conn = p.secure.server(conn)
		}
		guest := &peekedConn{Conn: conn, leave: p.door.leave}
		if !p.admit(guest) {
			guest.Close()
			continue
		}
		p.wg.Go(func() { p.sort(guest) })
	}
}

const acceptPause = 100 * time.Millisecond

func (p *raftPort) admit(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.fresh[conn] = struct{}{}
	return true
}

// sort hands conn to whom it is for.
func (p *raftPort) sort(conn *peekedConn) {
	deadline := time.Now().Add(firstByteTimeout)
	conn.SetReadDeadline(deadline)
	r := bufio.NewReaderSize(conn.Conn, 16) // as small as it goes; the readers bring their own
	first, err := r.Peek(1)
	p.mu.Lock()
	delete(p.fresh, conn)
	p.mu.Unlock()
	conn.r = r
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return
	}
	to := p.raft
	if first[0] > lastControl {
		to = p.http
	}
	timeout := time.NewTimer(time.Until(deadline))
	defer timeout.Stop()
	select {
	case to.conns <- conn:
	case <-timeout.C: // nobody takes it: the node starts, or has not been let in yet
		conn.Close()
	case <-to.done:
		conn.Close()
	case <-p.done:
		conn.Close()
	}
}

// half is the port as one of its two users has it: a listener.
type half struct {
	addr   net.Addr
	conns  chan net.Conn
	opened chan struct{} // closed by open
	done   chan struct{} // closed by Close
	first  sync.Once
	once   sync.Once
}

func newHalf(addr net.Addr) *half {
	return &half{addr: addr, conns: make(chan net.Conn), opened: make(chan struct{}), done: make(chan struct{})}
}

// open has Accept return what comes. Until then it waits.
func (h *half) open() { h.first.Do(func() { close(h.opened) }) }

func (h *half) Accept() (net.Conn, error) {
	select {
	case <-h.opened:
	case <-h.done:
		return nil, net.ErrClosed
	}
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *half) Addr() net.Addr { return h.addr }

// Close ends this half. The other one goes on.
func (h *half) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// peekedConn is a connection of which something was read already.
type peekedConn struct {
	net.Conn
	r     *bufio.Reader
	leave func() // the door
	once  sync.Once
}

func (c *peekedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// known has a connection count no more among those of strangers.
func (c *peekedConn) known() { c.once.Do(c.leave) }

func (c *peekedConn) Close() error {
	c.known()
	return c.Conn.Close()
}
