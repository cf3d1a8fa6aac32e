package nats

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

// movingPair returns such a connection and its other end, which holds nothing itself.
func movingPair(t *testing.T) (c *movingConn, other net.Conn) {
	t.Helper()
	near, other := net.Pipe()
	t.Cleanup(func() { near.Close(); other.Close() })
	return &movingConn{Conn: near, moved: new(atomic.Uint64)}, other
}

// TestLongWriteOnASlowLink: a write has its time for what moves next, not for all of it; where
// nothing moves it is over when that is up.
func TestLongWriteOnASlowLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const patience, pause, piece = 5 * time.Second, 2 * time.Second, 1 << 10
		c, other := movingPair(t)
		data := bytes.Repeat([]byte("0123456789abcdef"), 10*piece/16)
		var came bytes.Buffer
		go func() {
			for came.Len() < len(data) {
				time.Sleep(pause)
				io.CopyN(&came, other, piece)
			}
		}()
		began := time.Now()
		if err := c.SetWriteDeadline(began.Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Write(data)
		if took := time.Since(began); n != len(data) || err != nil || took < 2*patience {
			t.Errorf("%d bytes were written within %v, %v", n, took, err)
		}
		synctest.Wait()
		if !bytes.Equal(came.Bytes(), data) {
			t.Errorf("%d other bytes have come", came.Len())
		}
		before := c.moved.Load()
		began = time.Now()
		n, err = c.Write(data)
		if took := time.Since(began); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || took != patience {
			t.Errorf("where nothing moves, %d bytes were written within %v, %v", n, took, err)
		}
		if before == 0 || c.moved.Load() != before {
			t.Errorf("moved was %d, and is %d where nothing moved", before, c.moved.Load())
		}
	})
}

// TestSilentConnectionIsDead: so it is behind deadTime in which nothing came, nor room for what
// waited to be written; where the client library has a deadline, that counts.
func TestSilentConnectionIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, other := movingPair(t)
		read := func() (took time.Duration, err error) {
			began := time.Now()
			_, err = c.Read(make([]byte, 1))
			return time.Since(began), err
		}
		if took, err := read(); took != deadTime || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("where nothing comes it ends behind %v, %v", took, err)
		}
		const late = deadTime - time.Second
		time.AfterFunc(late, func() { other.Write([]byte("x")) })
		if took, err := read(); took != late || err != nil {
			t.Errorf("what comes late is read behind %v, %v", took, err)
		}
		if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if took, err := read(); took != time.Second || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("with a deadline it ends behind %v, %v", took, err)
		}
		if err := c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go func() {
			c.SetWriteDeadline(time.Now().Add(deadTime))
			c.Write([]byte("xy"))
		}()
		time.AfterFunc(late, func() { io.ReadFull(other, make([]byte, 2)) })
		if took, err := read(); took != 2*deadTime || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("where a write waited and went on it ends behind %v, %v", took, err)
		}
	})
}

// TestMovementIsOfOneConnection: options may be used for several.
func TestMovementIsOfOneConnection(t *testing.T) {
	broker, _ := startBroker(t)
	options := append(ClientConn(), nats.PingInterval(time.Hour))
	one, other := dial(t, broker.ClientURL(), options...), dial(t, broker.ClientURL(), options...)
	for what, conn := range map[string]*nats.Conn{"its own": other, "the default": dial(t, broker.ClientURL())} {
		inbox := conn.NewInbox()
		if _, err := conn.SubscribeSync(inbox); err != nil {
			t.Fatal(err)
		}
		before, silent := movement(conn), movement(one)
		if err := conn.Publish(inbox, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := conn.FlushTimeout(patience); err != nil {
			t.Fatal(err)
		}
		if movement(conn) == before {
			t.Errorf("with %s dialer nothing has moved", what)
		}
		if movement(one) != silent {
			t.Error("something has moved on a connection on which nothing did")
		}
	}
}

// heldConn is a connection that takes nothing for a while.
type heldConn struct {
	net.Conn
	held    atomic.Bool
	holding chan struct{} // gets a value when a write waits
	free    chan struct{}
}

func (c *heldConn) Write(p []byte) (int, error) {
	if c.held.CompareAndSwap(true, false) {
		c.holding <- struct{}{}
		<-c.free
	}
	return c.Conn.Write(p)
}

// Dial implements [nats.CustomDialer], for one connection.
func (c *heldConn) Dial(network, address string) (net.Conn, error) {
	var err error
	c.Conn, err = net.Dial(network, address)
	return c, err
}

// TestSilenceBesideALongWrite: while something is being written nobody else can ask the
// client library anything. That nothing is heard of the leader is told all the same.
func TestSilenceBesideALongWrite(t *testing.T) {
	l := startHeardLeader(t, 0)
	held := &heldConn{holding: make(chan struct{}, 1), free: make(chan struct{})}
	conn := dial(t, l.broker.ClientURL(), append(ClientConn(), nats.SetCustomDialer(held))...)
	var err error
	if l.c, err = NewClient(ClientOptions{Conn: conn}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.c.Close)
	t.Cleanup(func() { close(held.free) })
	l.beacon()
	l.watch()
	l.until(Synced)
	held.held.Store(true)
	if err := conn.Publish("long", nil); err != nil {
		t.Fatal(err)
	}
	receive(t, l.ctx, "a write waits", held.holding)
	if u, err := l.w.Next(l.ctx); err != nil || u.Kind != Stale {
		t.Errorf("%+v, %v; want that the watch is stale", u, err)
	}
}
