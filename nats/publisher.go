package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// Timing and bounds of a [Publisher].
const (
	BeaconPeriod = time.Second
	BeaconEvents = 4096 // a beacon after so many events, if the period is longer

	// MeetPatience is for how long at most the first event of a term waits for nodes that
	// live: a little more than what two brokers need to connect, of which each closed what
	// the other had opened.
	MeetPatience = 1500 * time.Millisecond

	confirmTimeout = 10 * time.Second
	retryPause     = 50 * time.Millisecond
	provePace      = 2 * time.Millisecond // between two pings: each has the connection write what it has, and others wait
	publishBatch   = 256
	maxOwed        = 64
)

// PublisherOptions configures a [Publisher]. Conn and Ring are required.
type PublisherOptions struct {
	// Conn is the publisher's own connection, made with the options of
	// [PublisherConn].
	Conn *nats.Conn
	// Ring is where the events come from.
	Ring *fanout.Ring
	// Subjects must have been checked.
	Subjects Subjects
	// Cluster, Term and Node, the id of the node that leads, go into beacons and
	// resets.
	Cluster string
	Term    uint64
	Node    string
	// After is the revision up to which events count as published. Publishing
	// begins behind it.
	After uint64
	// Lost, if not nil, is announced as a reset before any event: revisions
	// up to After of which nobody knows whether they were published.
	Lost *Range
	// Interest, if not nil, reports whether anybody subscribes to a subject, as the
	// broker that Conn leads to knows; an event that nobody does is not handed to
	// it. The broker would drop it a moment later. Whoever subscribes in between
	// cannot tell: nothing says that he came before the event. Nil: all events
	// are published.
	Interest func(subject string) bool
	// Audience is what this node knows of the others; this term begins in it. Default:
	// there are no others.
	Audience *Audience
	// Lives, if not nil, reports whether a node lives, as is known by another way than the
	// brokers: then the first event of the term waits until it can tell what reaches it,
	// for [MeetPatience] at most. It must not block. Nil: for nobody.
	Lives func(node string) bool
	// Safe, if not nil, is called with each revision that is newly safe, as it grows,
	// from one goroutine at a time. It must not block.
	Safe func(revision uint64)
	// Logger gets one line when publishing is interrupted and one when it goes
	// on. Default: nothing.
	Logger *slog.Logger
}

// PublisherConn returns the options that a publisher's connection needs:
// reconnect for ever; refuse to publish while disconnected, since what a client
// library buffers then would be sent out of turn; give up a broker that does not
// take bytes or answer pings, in seconds; and never go on behind a write that
// failed. For a broker in the same process, add [InProcess].
func PublisherConn() []nats.Option {
	return []nats.Option{
		whole(),
		nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials may be mended
		nats.ReconnectWait(retryPause),
		nats.FlusherTimeout(5 * time.Second),
		nats.PingInterval(5 * time.Second),
	}
}

// Publisher publishes the events of a ring in order. It is confirmed in
// batches: a ping behind what was published, asked by a goroutine of its own so
// that publishing goes on meanwhile, and what was published before the ping
// counts once the pong is there, if the connection is still the same. A
// session lasts as long as a connection; the next one begins behind what was
// confirmed.
type Publisher struct {
	o         PublisherOptions
	patience  time.Duration // for an answer of the broker
	meeting   time.Duration // for how long at most nodes that live are waited for
	began     time.Time     // the term, here
	met       bool          // they are waited for no more; of the stream, like the next one
	meetBegan time.Time     // since when they are waited for; zero before
	lost      *Range        // to be announced; nil once confirmed
	published atomic.Uint64 // revision handed to the connection, in this session
	confirmed atomic.Uint64
	handed    atomic.Uint64 // highest revision that was ever about to be handed to it

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when confirmed or safe grows, or a node acknowledges

	safeMu sync.Mutex // held while it is found and told
	safe   atomic.Uint64

	beaconMu sync.Mutex    // held while one is made and sent, so that seq grows on the wire
	made     uint64        // seq of the last one that was made
	seq      atomic.Uint64 // of the last one that was handed to the connection
	heard    atomic.Uint64 // of the last one that the broker has confirmed
	hurry    chan struct{} // one slot: the next beacon has news for somebody
	owed     chan Range    // resets that nodes ask for

	resets      atomic.Pointer[resets]
	events      atomic.Uint64
	skipped     atomic.Uint64
	interrupted atomic.Bool // and nothing was confirmed since
}

// resets is what was announced so far. A beacon takes it as a whole, so that the
// range is the one that the count ends with.
type resets struct {
	count uint64
	last  *Range
}

// NewPublisher checks the options. The error wraps [fanout.ErrBadOption].
func NewPublisher(o PublisherOptions) (*Publisher, error) {
	if o.Conn == nil || o.Ring == nil {
		return nil, fmt.Errorf("%w: a publisher needs a connection and a ring", fanout.ErrBadOption)
	}
	if err := o.Subjects.Check(); err != nil {
		return nil, err
	}
	if l := o.Lost; l != nil && (l.From == 0 || l.From > l.To || l.To > o.After) {
		return nil, fmt.Errorf("%w: PublisherOptions.Lost is %d..%d; give a range within 1..After, which is %d", fanout.ErrBadOption, l.From, l.To, o.After)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Audience == nil {
		o.Audience = NewAudience(o.Node)
	}
	p := &Publisher{o: o, began: time.Now(), met: o.Lives == nil, patience: confirmTimeout, meeting: MeetPatience, lost: o.Lost, changed: make(chan struct{}), hurry: make(chan struct{}, 1), owed: make(chan Range, maxOwed)}
	p.resets.Store(new(resets))
	start := o.After
	if o.Lost != nil {
		start = o.Lost.From - 1
	}
	for _, revision := range []*atomic.Uint64{&p.confirmed, &p.published, &p.handed, &p.safe} {
		revision.Store(start)
	}
	o.Audience.lead(o.Term, start, p.began)
	return p, nil
}

// Events returns how many events were published, repeats included, those that
// nobody subscribed to left out.
func (p *Publisher) Events() uint64 { return p.events.Load() }

// Skipped returns how many events were not published because nobody subscribed to
// them, repeats included.
func (p *Publisher) Skipped() uint64 { return p.skipped.Load() }

// Confirmed returns the revision up to which the broker has everything.
func (p *Publisher) Confirmed() uint64 { return p.confirmed.Load() }

// Resets returns how many resets were announced.
func (p *Publisher) Resets() uint64 { return p.resets.Load().count }

// WaitConfirmed returns when the broker has everything up to revision, or with
// the cause of ctx.
func (p *Publisher) WaitConfirmed(ctx context.Context, revision uint64) error {
	return p.wait(ctx, func() bool { return p.confirmed.Load() >= revision })
}

// wait returns when holds does, which is asked when [Publisher.tell] is called and now and
// then, or with the cause of ctx.
func (p *Publisher) wait(ctx context.Context, holds func() bool) error {
	tick := time.NewTicker(retryPause)
	defer tick.Stop()
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if holds() {
			return nil
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Run publishes until ctx ends, and returns its cause; or until the connection
// is closed for good, and returns an error that wraps [nats.ErrConnectionClosed].
// It starts goroutines and waits for them. Call it once.
func (p *Publisher) Run(ctx context.Context) error {
	status := p.o.Conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer p.o.Conn.RemoveStatusListener(status)
	for {
		// A broker that refuses every session is not asked more often.
		next := status
		if p.o.Conn.IsConnected() {
			err := p.session(ctx, status)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if !p.interrupted.Swap(true) {
				p.o.Logger.Warn("publishing is interrupted", "error", err, "confirmed", p.Confirmed())
			}
			next = nil
		}
		if p.o.Conn.IsClosed() {
			return fmt.Errorf("nats: nothing is published any more: %w", errors.Join(nats.ErrConnectionClosed, p.o.Conn.LastError()))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-next:
		case <-time.After(retryPause):
		}
	}
}

var errDisconnected = errors.New("nats: the connection to the broker was lost")

// session publishes over one connection, until that ends or something fails.
func (p *Publisher) session(ctx context.Context, status <-chan nats.Status) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s := &session{p: p, connection: p.o.Conn.Stats().Reconnects, begun: make(chan struct{}), dirty: make(chan struct{}, 1), beacons: make(chan struct{}, 1)}
	p.published.Store(p.confirmed.Load())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{s.stream, s.confirm, s.beacon} {
		wg.Go(func() { end(run(ctx)) })
	}
	for ctx.Err() == nil {
		select {
		case <-status: // maybe of an earlier session
			if !s.alive() {
				end(errDisconnected)
			}
		case <-ctx.Done():
		}
	}
	wg.Wait()
	return context.Cause(ctx)
}

// confirm records that the broker has everything up to revision, and the beacons up to
// seq.
func (p *Publisher) confirm(revision, seq uint64) {
	if p.interrupted.Swap(false) {
		p.o.Logger.Info("publishing goes on", "confirmed", revision)
	}
	p.heard.Store(seq)
	if revision == p.confirmed.Load() {
		return // only a sign of life
	}
	p.lost = nil
	p.confirmed.Store(revision)
	p.tell()
	p.settle()
}

// tell wakes who waits for confirmed or safe to grow, or for what a node acknowledges.
func (p *Publisher) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Publisher) publishJSON(subject string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("nats: %s: %w", subject, err)
	}
	return p.o.Conn.Publish(subject, data)
}

// poke signals a one-slot channel.
func poke(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
