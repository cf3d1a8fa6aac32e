package node

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// streamLayer carries Raft over TCP. Raft's own has two habits that this one
// has not. It wants the advertised address resolved at start, when in a
// container set-up the names of the others, and even one's own, may not resolve
// yet; here names are passed on, and dialled when they are needed. And it leaves
// connections open when it is closed, with a goroutine on each.
type streamLayer struct {
	listener  net.Listener
	advertise net.Addr
	secure    *raftTLS // nil: not encrypted

	mu     sync.Mutex
	open   map[*streamConn]struct{}
	closed bool
}

func newStreamLayer(l net.Listener, advertise net.Addr, secure *raftTLS) *streamLayer {
	return &streamLayer{listener: l, advertise: advertise, secure: secure, open: make(map[*streamConn]struct{})}
}

// Accept waits for another node. Its port has seen to it that it is one.
func (s *streamLayer) Accept() (net.Conn, error) { return s.track(s.listener.Accept()) }

// Dial connects to another node.
func (s *streamLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	end := time.Now().Add(timeout)
	conn, err := s.track(net.DialTimeout("tcp", string(addr), timeout))
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

// track remembers a new connection until it is closed.
func (s *streamLayer) track(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	c := &streamConn{Conn: conn, layer: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	s.open[c] = struct{}{}
	return c, nil
}

// streamConn is a connection that its layer remembers.
type streamConn struct {
	net.Conn
	layer *streamLayer
}

func (c *streamConn) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.open, c)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}

// nodeAddr is a host:port that is passed on as it is.
type nodeAddr string

func (nodeAddr) Network() string  { return "tcp" }
func (a nodeAddr) String() string { return string(a) }
