package node

import (
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// streamLayer carries Raft over TCP. Raft's own constructor wants the
// advertised address resolved at start, when in a container set-up the names of
// the others, and even one's own, may not resolve yet; this one passes names
// on, and dials them when they are needed.
type streamLayer struct {
	net.Listener
	advertise net.Addr
}

func newStreamLayer(addr string, advertise net.Addr) (*streamLayer, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &streamLayer{Listener: l, advertise: advertise}, nil
}

// Dial connects to another node.
func (s *streamLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(addr), timeout)
}

// Addr returns the address under which others know this node.
func (s *streamLayer) Addr() net.Addr {
	if s.advertise != nil {
		return s.advertise
	}
	return s.Listener.Addr()
}

// nodeAddr is a host:port that is passed on as it is.
type nodeAddr string

func (nodeAddr) Network() string  { return "tcp" }
func (a nodeAddr) String() string { return string(a) }
