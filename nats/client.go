package nats

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// Defaults of [ClientOptions].
const (
	DefaultTimeout = 10 * time.Second
	DefaultVerify  = 30 * time.Second
)

// ClientOptions configures a [Client]. Conn is required.
type ClientOptions struct {
	// Conn is a connection to any broker of the cluster. It stays the caller's, who
	// closes it after the client. See [ClientConn] for the options it should have.
	Conn *nats.Conn
	// Subjects are the roots that the nodes use. Default "watch" and "kv".
	Subjects Subjects
	// Timeout bounds a request whose context has no deadline; 4 min or less, as long as
	// a write is sure to take effect once. Default 10 s.
	Timeout time.Duration
	// Verify is how often a [Watch] makes sure that it has missed nothing, if
	// anything was published meanwhile; 1 s or more. Default 30 s.
	Verify time.Duration
	// Logger gets what a watch does to heal itself, at level debug; and at level warn,
	// once a minute at most, that something on the nodes' subjects is not of a node.
	// Default: nothing.
	Logger *slog.Logger
}

// ClientConn returns options for the connection of a [Client]: connect again for ever,
// not all clients at the same moment; notice within seconds that a broker is gone without
// a word, and stay where something long is on its way over a slow link; go on behind no write
// that failed, which may have been a subscription; and hold back no request while disconnected,
// which would go out when nobody waits for it any more, and maybe after its id is forgotten.
// Without the last a write may take effect twice. A dialer of one's own (nats.SetCustomDialer)
// takes the place of the one in here: then a broker that is gone is noticed within seconds where
// there is a [Watch], else within a minute, and a long value over a slow link may not come.
func ClientConn() []nats.Option {
	return []nats.Option{
		moving(),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials may be mended
		nats.ReconnectBufSize(-1),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(200*time.Millisecond, 500*time.Millisecond),
		nats.PingInterval(clientPing),
		nats.MaxPingsOutstanding(int(ListingTime / clientPing)), // over a slow link an answer is behind much else
		nats.FlusherTimeout(5 * time.Second),
	}
}

// Client reads, writes and watches keys over NATS. All methods may be called from any
// goroutine.
//
// Requests are repeated until they are answered or their context ends, also across a
// change of leader: writes carry a request id, so that one that is repeated takes
// effect once. Errors are of type [*Error], with a code, where a node has said no; see
// there for those after which the outcome is not known.
type Client struct {
	o     ClientOptions
	pulse *pulse
	alone chan struct{} // held by who asks whether a subject may be heard
	turns turns         // held by watches that take answers

	mu        sync.Mutex
	closed    bool
	watches   map[*Watch]struct{}
	complains time.Time // when there may be the next warning
}

// ErrClientClosed is the error of what a client is asked after Close, and of the
// watches that Close ended.
var ErrClientClosed = errors.New("nats: the client is closed")

// NewClient checks the options. The error wraps [fanout.ErrBadOption].
func NewClient(o ClientOptions) (*Client, error) {
	if o.Conn == nil {
		return nil, fmt.Errorf("%w: a client needs a connection", fanout.ErrBadOption)
	}
	if err := o.Subjects.Check(); err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Verify == 0 {
		o.Verify = DefaultVerify
	}
	if o.Timeout < 0 || o.Timeout > maxRetry {
		return nil, fmt.Errorf("%w: ClientOptions.Timeout is %v; give a duration above 0, %v at most", fanout.ErrBadOption, o.Timeout, maxRetry)
	}
	if o.Verify < time.Second {
		return nil, fmt.Errorf("%w: ClientOptions.Verify is %v; give 1s or more", fanout.ErrBadOption, o.Verify)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{o: o, watches: make(map[*Watch]struct{}), alone: make(chan struct{}, 1), turns: newTurns()}
	c.pulse = newPulse(c)
	return c, nil
}

// Close ends all watches of the client and waits for their goroutines. Requests under
// way go on until they are answered. It may be called more than once.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	watches := c.list()
	c.mu.Unlock()
	for _, w := range watches {
		w.end(ErrClientClosed)
	}
	c.pulse.stop()
}

// list returns the watches. The caller holds mu.
func (c *Client) list() []*Watch {
	all := make([]*Watch, 0, len(c.watches))
	for w := range c.watches {
		all = append(all, w)
	}
	return all
}

// each calls do for every watch, without a lock.
func (c *Client) each(do func(*Watch)) {
	c.mu.Lock()
	all := c.list()
	c.mu.Unlock()
	for _, w := range all {
		do(w)
	}
}

// listen starts the pulse, if it has not begun.
func (c *Client) listen() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClientClosed
	}
	return c.pulse.start()
}

// add registers a watch.
func (c *Client) add(w *Watch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClientClosed
	}
	c.watches[w] = struct{}{}
	return nil
}

// malformed warns of a message that no node has sent.
func (c *Client) malformed(err error) {
	c.mu.Lock()
	now := time.Now()
	due := now.After(c.complains)
	if due {
		c.complains = now.Add(time.Minute)
	}
	c.mu.Unlock()
	if due {
		c.o.Logger.Warn("malformed message", "error", err)
	}
}

func (c *Client) remove(w *Watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watches, w)
}
