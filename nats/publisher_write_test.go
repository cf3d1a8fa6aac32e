package nats

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// stuckConn is a TCP connection whose next write can be made to find the socket
// full until its deadline: it fails with nothing written, and the connection
// lives on.
type stuckConn struct {
	net.Conn

	mu       sync.Mutex
	stick    bool
	stuck    chan struct{} // gets one value for each write that failed
	deadline time.Time
}

func (c *stuckConn) SetWriteDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = at
	return c.Conn.SetWriteDeadline(at)
}

func (c *stuckConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	stick, deadline := c.stick, c.deadline
	c.stick = false
	c.mu.Unlock()
	if !stick {
		return c.Conn.Write(p)
	}
	full := time.NewTimer(time.Until(deadline))
	<-full.C
	c.stuck <- struct{}{}
	return 0, os.ErrDeadlineExceeded
}

func (c *stuckConn) stickNext() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stick = true
}

// stuckDialer makes such connections, to a port or within the process, and
// remembers the newest.
type stuckDialer struct {
	pipes nats.InProcessConnProvider

	mu     sync.Mutex
	newest *stuckConn
}

func (d *stuckDialer) Dial(network, address string) (net.Conn, error) {
	return d.keep(net.Dial(network, address))
}

func (d *stuckDialer) InProcessConn() (net.Conn, error) { return d.keep(d.pipes.InProcessConn()) }

func (d *stuckDialer) keep(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.newest = &stuckConn{Conn: conn, stuck: make(chan struct{}, 1)}
	return d.newest, nil
}

func (d *stuckDialer) conn() *stuckConn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newest
}

// A write that fails with nothing written leaves a connection that works, and a
// client library that has dropped its buffer: with events in it, with the ping
// behind them, or both. Neither a later ping of ours nor a pong for one of the
// library's own may be taken as proof for them.
func TestPublisherDroppedWrites(t *testing.T) {
	d := new(stuckDialer)
	for name, o := range map[string]bridgeOptions{
		"tcp": {conn: []nats.Option{nats.SetCustomDialer(wholeDialer{d})}},
		"in process": {inProcess: true, pipes: func(broker nats.InProcessConnProvider) nats.InProcessConnProvider {
			d.pipes = broker
			return d
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o.conn = append(o.conn,
				nats.FlusherTimeout(20*time.Millisecond),
				nats.PingInterval(time.Millisecond), // the library's own pings follow at once
				nats.MaxPingsOutstanding(1<<30))
			b := newBridge(t, o).run()
			for i := range 20 {
				c := d.conn()
				c.stickNext()
				b.push(1 + i%3*200)
				receive(t, b.ctx, "a write comes and is stuck", c.stuck)
				b.push(1)
				b.waitConfirmed(b.revision)
				b.heard.settle(b.ctx)
				if b.heard.through != b.revision {
					t.Fatalf("fault %d: %d is confirmed, but the changes behind %d are missing", i, b.revision, b.heard.through)
				}
			}
		})
	}
}

// A broker that refuses an event answers pings all the same. That confirms
// nothing, and publishing goes on when the broker is set right.
func TestPublisherWithoutPermission(t *testing.T) {
	var options *server.Options
	user := func(deny ...string) []*server.User {
		return []*server.User{
			{Username: "listener"},
			{Username: "publisher", Password: "secret", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: deny}}},
		}
	}
	b := newBridge(t, bridgeOptions{
		broker: func(o *server.Options) {
			o.Users, o.NoAuthUser = user("watch.key.50"), "listener"
			options = o.Clone()
		},
		conn: []nats.Option{nats.UserInfo("publisher", "secret")},
	}).run()
	for range 60 {
		b.push(1)
	}
	eventually(t, b.ctx, "it was tried several times", func() bool { return b.conn.Stats().Reconnects > 3 })
	if got := b.publisher.Confirmed(); got >= 50 {
		t.Fatalf("event 50 was refused, and %d is confirmed", got)
	}
	options.Port = b.broker.Addr().(*net.TCPAddr).Port
	options.Users = user()
	if err := b.broker.ReloadOptions(options); err != nil {
		t.Fatal(err)
	}
	b.waitConfirmed(60)
	b.heard.untilCovered(b.ctx, 60)
}

// A connection that was closed for good never comes back; that must not look
// like one that does.
func TestPublisherEndsWithItsConnection(t *testing.T) {
	b := newBridge(t, bridgeOptions{}).run()
	b.push(10)
	b.waitConfirmed(10)
	b.conn.Close()
	receive(t, b.ctx, "Run returns when its connection is closed", b.ended)
	if !errors.Is(b.err, nats.ErrConnectionClosed) {
		t.Errorf("Run returned %v, want ErrConnectionClosed", b.err)
	}
}
