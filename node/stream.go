package node

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// streamLayer carries Raft over TCP. Raft's own has two habits that this one
// has not. It wants the advertised address resolved at start, when in a
// container set-up the names of the others, and even one's own, may not resolve
// yet; here names are passed on, and dialled when they are needed. And it leaves
// connections open when it is closed, with a goroutine on each.
type streamLayer struct {
	listener   net.Listener
	advertise  net.Addr
	secure     *raftTLS       // nil: not encrypted
	acquainted *acquaintances // nil: talks with anybody

	mu     sync.Mutex
	open   map[*streamConn]struct{}
	closed bool
	hung   bool // Raft ends: there are no connections any more
}

func newStreamLayer(l net.Listener, advertise net.Addr, secure *raftTLS, acquainted *acquaintances) *streamLayer {
	return &streamLayer{listener: l, advertise: advertise, secure: secure, acquainted: acquainted, open: make(map[*streamConn]struct{})}
}

// Accept waits for another node, which is greeted when the connection is read from.
// Its port has seen to what encrypts it.
func (s *streamLayer) Accept() (net.Conn, error) {
	for {
		c, err := s.track(s.listener.Accept())
		if errors.Is(err, errHungUp) {
			continue
		}
		if err != nil {
			return nil, err // not c, which would be no nil to the caller
		}
		return c, nil
	}
}

// Dial connects to another node, and greets it.
func (s *streamLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	end := time.Now().Add(timeout)
	c, err := s.track(s.dial(addr, timeout))
	if err != nil {
		return nil, err
	}
	if s.acquainted != nil {
		c.greeted.Do(func() { c.greetErr = s.acquainted.dialled(c, addr, time.Until(end)) })
		if c.greetErr != nil {
			return nil, errors.Join(c.greetErr, c.Close())
		}
	}
	return c, nil
}

func (s *streamLayer) dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	end := time.Now().Add(timeout)
	conn, err := net.DialTimeout("tcp", string(addr), timeout)
	if err != nil || s.secure == nil {
		return conn, err
	}
	secured, err := s.secure.client(conn, string(addr), time.Until(end))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secured, nil
}

// Addr returns the address under which others know this node.
func (s *streamLayer) Addr() net.Addr {
	if s.advertise != nil {
		return s.advertise
	}
	return s.listener.Addr()
}

// Close stops listening and closes every connection.
func (s *streamLayer) Close() error {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = nil
	s.mu.Unlock()
	errs := []error{s.listener.Close()}
	for c := range open {
		errs = append(errs, c.Conn.Close())
	}
	return errors.Join(errs...)
}

var errHungUp = errors.New("node: Raft ends")

// hangUp closes every connection, and lets none come about any more, because Raft ends. It
// would wait for who takes a snapshot, two seconds for each 256 KiB, and for who sends one,
// however long.
func (s *streamLayer) hangUp() {
	s.mu.Lock()
	s.hung = true
	s.mu.Unlock()
	s.closeWhere(func(*streamConn) bool { return true })
}

// track remembers a new connection until it is closed.
func (s *streamLayer) track(conn net.Conn, err error) (*streamConn, error) {
	if err != nil {
		return nil, err
	}
	c := &streamConn{Conn: conn, layer: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	if s.hung {
		return nil, errors.Join(errHungUp, conn.Close())
	}
	s.open[c] = struct{}{}
	return c, nil
}

// streamConn is a connection that its layer remembers.
type streamConn struct {
	net.Conn
	layer *streamLayer

	greeted  sync.Once
	greetErr error
	peer     identityRecord // written under the layer's lock, by who greets
	heard    time.Time      // of who reads
	ended    atomic.Bool    // by the other end
}

// Read reads what comes after the greeting.
func (c *streamConn) Read(b []byte) (int, error) {
	a := c.layer.acquainted
	if a == nil {
		return c.Conn.Read(b)
	}
	c.greeted.Do(func() {
		if c.greetErr = a.accepted(c, transportTimeout); c.greetErr == nil {
			c.nodeKnown()
		}
	})
	if c.greetErr != nil {
		return 0, io.EOF // what is to be said of it has been said
	}
	n, err := c.Conn.Read(b)
	c.note(err)
	if now := time.Now(); n > 0 && now.Sub(c.heard) > a.recent/4 {
		c.heard = now
		a.heardOf(c.peer)
	}
	return n, err
}

// nodeKnown says at the port's door that a node has come.
func (c *streamConn) nodeKnown() {
	if guest, ok := c.Conn.(*peekedConn); ok {
		guest.known()
	}
}

// Write writes what comes after the greeting.
func (c *streamConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.note(err)
	return n, err
}

// note looks whether an error says that the other end has closed the connection. A process
// that ends does that; one that is silent does not, though Raft closes this end then.
func (c *streamConn) note(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		c.ended.Store(true)
	}
}

// closeWhere closes connections that are open.
func (s *streamLayer) closeWhere(condition func(*streamConn) bool) {
	var found []*streamConn
	s.mu.Lock()
	for c := range s.open {
		if condition(c) {
			found = append(found, c)
		}
	}
	s.mu.Unlock()
	for _, c := range found {
		c.Conn.Close() // who reads from it closes it again, and forgets it
	}
}

// setPeer notes who is at the other end.
func (c *streamConn) setPeer(peer identityRecord) {
	c.layer.mu.Lock()
	defer c.layer.mu.Unlock()
	c.peer = peer
}

// Close also has who is at the other end forgotten if this was the last connection with it,
// under the lock: a new one with the same peer is known here before it is noted there.
func (c *streamConn) Close() error {
	s := c.layer
	s.mu.Lock()
	delete(s.open, c)
	last := c.peer.Node != ""
	for other := range s.open {
		last = last && (other.peer.Node != c.peer.Node || other.peer.Directory != c.peer.Directory)
	}
	gone := last && s.acquainted.gone(c.peer)
	peer := c.peer.Node
	s.mu.Unlock()
	if gone && c.ended.Load() {
		s.acquainted.left(peer)
	}
	return c.Conn.Close()
}

// nodeAddr is a host:port that is passed on as it is.
type nodeAddr string

func (nodeAddr) Network() string  { return "tcp" }
func (a nodeAddr) String() string { return string(a) }
