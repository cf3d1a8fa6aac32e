package nats

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// clientPing is how often the client library makes a broker say something, and
	// deadTime behind how long without a byte the connection is taken for dead.
	clientPing = 5 * time.Second
	deadTime   = 3 * clientPing

	// writeTick is how often a write that waits for room looks whether there was some.
	writeTick = BeaconPeriod / 4
)

// movingConn is dead if nothing moves on it, and not if a message takes long.
//
// The client library gives up a connection if a ping is not answered in time, or a write not
// finished. Over a slow link either may be behind a long value, or a list, and so it is
// again on the next connection, for ever.
type movingConn struct {
	net.Conn
	moved *atomic.Uint64

	limited  atomic.Bool   // the library has set a deadline for reading
	patience time.Duration // of a write, 0 for any; of the library's writer
}

// Read ends the connection if nothing has moved for long, but while the library has a
// deadline of its own.
func (c *movingConn) Read(p []byte) (n int, err error) {
	for {
		before := c.moved.Load()
		limited := c.limited.Load()
		if !limited {
			c.Conn.SetReadDeadline(time.Now().Add(deadTime)) // its only error is that it is closed
		}
		n, err = c.Conn.Read(p)
		if n > 0 {
			c.moved.Add(1)
		}
		if limited || n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || c.moved.Load() == before {
			return n, err
		}
	}
}

// Write gives the time that the library has for all of p to what of it moves next. What the
// kernel takes without a wait is no sign that it does.
func (c *movingConn) Write(p []byte) (n int, err error) {
	if c.patience <= 0 {
		return c.Conn.Write(p)
	}
	moved, waited := time.Now(), false
	for {
		now := time.Now()
		left := c.patience - now.Sub(moved)
		c.Conn.SetWriteDeadline(now.Add(min(left, writeTick))) // as above
		m, err := c.Conn.Write(p[n:])
		n += m
		if m > 0 {
			moved = time.Now()
			if waited {
				c.moved.Add(1)
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(moved) >= c.patience {
			return n, err
		}
		waited = true
	}
}

// SetDeadline is that of [net.Conn].
func (c *movingConn) SetDeadline(at time.Time) error {
	if err := c.SetReadDeadline(at); err != nil {
		return err
	}
	return c.SetWriteDeadline(at)
}

// SetReadDeadline is that of [net.Conn].
func (c *movingConn) SetReadDeadline(at time.Time) error {
	c.limited.Store(!at.IsZero())
	return c.Conn.SetReadDeadline(at)
}

// SetWriteDeadline says how long a write may wait until some of it moves.
func (c *movingConn) SetWriteDeadline(at time.Time) error {
	if c.patience = 0; !at.IsZero() {
		c.patience = time.Until(at)
	}
	return c.Conn.SetWriteDeadline(at)
}

// movingDialer dials such connections, one after the other, for one client.
type movingDialer struct {
	under nats.CustomDialer
	moved *atomic.Uint64 // grows as they move
}

// Dial implements [nats.CustomDialer].
func (d movingDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.under.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return &movingConn{Conn: conn, moved: d.moved}, nil
}

// moving is the option for clients' connections by TCP, which are whole, too. Each
// connection counts for itself, though several may be made of the same options.
func moving() nats.Option {
	return func(o *nats.Options) error {
		o.CustomDialer = wholeDialer{movingDialer{under: dialer(), moved: new(atomic.Uint64)}}
		return nil
	}
}

// movement returns a number that has changed if something has come, or gone, since. On a
// connection of other options it counts what has come, in whole messages.
func movement(conn *nats.Conn) uint64 {
	if whole, ok := conn.Opts.CustomDialer.(wholeDialer); ok {
		if d, ok := whole.under.(movingDialer); ok {
			return d.moved.Load()
		}
	}
	return conn.Stats().InBytes
}
