package nats

import (
	"net"

	"github.com/nats-io/nats.go"
)

// wholeConn closes itself at the first write that fails.
//
// The client library drops what it wanted to write then. If nothing of it was
// written, as when the socket had no room until the deadline, it keeps the
// connection, tells nobody (least of all if it was about to send a ping), and
// goes on behind the gap. A later pong would be taken as proof for messages that
// were never sent.
type wholeConn struct{ net.Conn }

func (c wholeConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		c.Conn.Close() // the library sees it at its next read, and connects anew
	}
	return n, err
}

// wholeDialer dials such connections.
type wholeDialer struct{ under nats.CustomDialer }

// whole is the option for connections by TCP.
func whole() nats.Option { return nats.SetCustomDialer(wholeDialer{dialer()}) }

func dialer() nats.CustomDialer { return &net.Dialer{Timeout: nats.DefaultTimeout} }

// ServiceConn returns the options that the connection of a [Service] or a [Replica] needs:
// never go on behind a write that failed, which may have been a subscription, so that a leader
// would hear no requests. For a broker in the same process, use [InProcess].
func ServiceConn() []nats.Option { return []nats.Option{whole()} }

// Dial implements [nats.CustomDialer].
func (d wholeDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.under.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return wholeConn{conn}, nil
}

// InProcess returns the option that connects a publisher or a service to a broker in the
// same process. Use it in place of [nats.InProcessServer], which goes around the
// dialer of [PublisherConn] and [ServiceConn]: beside that, a process that is paused for seconds
// in the midst of a write may lose events without a sign.
func InProcess(broker nats.InProcessConnProvider) nats.Option {
	return nats.InProcessServer(wholeProvider{broker})
}

type wholeProvider struct{ under nats.InProcessConnProvider }

// InProcessConn implements [nats.InProcessConnProvider].
func (p wholeProvider) InProcessConn() (net.Conn, error) {
	conn, err := p.under.InProcessConn()
	if err != nil {
		return nil, err
	}
	return wholeConn{conn}, nil
}
