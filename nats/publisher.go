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

	confirmTimeout = 10 * time.Second
	retryPause     = 50 * time.Millisecond
	publishBatch   = 256
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
	// Cluster and Term go into beacons and resets.
	Cluster string
	Term    uint64
	// After is the revision up to which events count as published. Publishing
	// begins behind it.
	After uint64
	// Lost, if not nil, is announced as a reset before anything else: revisions
	// up to After of which nobody knows whether they were published.
	Lost *Range
	// Confirmed, if not nil, is called with each newly confirmed revision, from
	// one goroutine at a time. It must not block.
	Confirmed func(revision uint64)
	// Logger gets one line when publishing is interrupted and one when it goes
	// on. Default: nothing.
	Logger *slog.Logger
}

// PublisherConn returns the options that a publisher's connection needs:
// reconnect for ever; refuse to publish while disconnected, since what a client
// library buffers then would be sent out of turn; and give up a broker that
// does not take bytes or answer pings, in seconds.
func PublisherConn() []nats.Option {
	return []nats.Option{
		nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1),
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
	lost      *Range        // to be announced; nil once confirmed
	published atomic.Uint64 // revision handed to the connection, in this session
	confirmed atomic.Uint64

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when confirmed grows

	seq, resets atomic.Uint64
	lastReset   atomic.Pointer[Range]
	events      atomic.Uint64
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
	p := &Publisher{o: o, lost: o.Lost, changed: make(chan struct{})}
	start := o.After
	if o.Lost != nil {
		start = o.Lost.From - 1
	}
	p.confirmed.Store(start)
	p.published.Store(start)
	return p, nil
}

// Events returns how many events were published, repeats included.
func (p *Publisher) Events() uint64 { return p.events.Load() }

// Confirmed returns the revision up to which the broker has everything.
func (p *Publisher) Confirmed() uint64 { return p.confirmed.Load() }

// WaitConfirmed returns when the broker has everything up to revision, or with
// the cause of ctx.
func (p *Publisher) WaitConfirmed(ctx context.Context, revision uint64) error {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if p.confirmed.Load() >= revision {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Run publishes until ctx ends, and returns its cause. It starts goroutines
// and waits for them. Call it once.
func (p *Publisher) Run(ctx context.Context) error {
	status := p.o.Conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer p.o.Conn.RemoveStatusListener(status)
	interrupted := false
	for {
		if p.o.Conn.IsConnected() {
			if interrupted {
				p.o.Logger.Info("publishing goes on", "after", p.Confirmed())
			}
			err := p.session(ctx, status)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			p.o.Logger.Warn("publishing is interrupted", "error", err, "confirmed", p.Confirmed())
			interrupted = true
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-status:
		case <-time.After(retryPause):
		}
	}
}

var errDisconnected = errors.New("nats: the connection to the broker was lost")

// session publishes over one connection, until that ends or something fails.
func (p *Publisher) session(ctx context.Context, status <-chan nats.Status) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s := &session{p: p, connection: p.o.Conn.Stats().Reconnects, dirty: make(chan struct{}, 1), beacons: make(chan struct{}, 1)}
	p.published.Store(p.confirmed.Load())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{s.stream, s.confirm, s.beacon} {
		wg.Go(func() { end(run(ctx)) })
	}
	for ctx.Err() == nil {
		select {
		case got := <-status:
			if got != nats.CONNECTED {
				end(errDisconnected)
			}
		case <-ctx.Done():
		}
	}
	wg.Wait()
	return context.Cause(ctx)
}

// session is what its goroutines share.
type session struct {
	p          *Publisher
	connection uint64        // count of reconnects: tells one connection from another
	dirty      chan struct{} // something was published since the last ping
	beacons    chan struct{} // many events were published since the last beacon
}

// stream publishes events as they come.
func (s *session) stream(ctx context.Context) error {
	p := s.p
	after := p.confirmed.Load()
	if p.lost != nil {
		if err := s.reset(*p.lost); err != nil {
			return err
		}
		after = p.o.After
		p.published.Store(after)
		poke(s.dirty)
	}
	cursor := p.o.Ring.Cursor(after)
	defer cursor.Close()
	buf := make([]*fanout.Event, 0, publishBatch)
	since := 0
	for {
		events, err := cursor.Next(ctx, buf[:0])
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := s.publish(e); err != nil {
				return err
			}
		}
		p.published.Store(cursor.Last())
		clear(events)
		poke(s.dirty)
		if since += len(events); since >= BeaconEvents {
			since = 0
			poke(s.beacons)
		}
	}
}

func (s *session) publish(e *fanout.Event) error {
	p := s.p
	switch e.Op {
	case fanout.Lagged:
		return s.reset(Range{From: e.PrevRevision, To: e.Revision})
	case fanout.Reset:
		return s.reset(Range{From: min(p.published.Load()+1, e.Revision), To: e.Revision})
	}
	err := p.o.Conn.PublishMsg(p.o.Subjects.EncodeEvent(e))
	if errors.Is(err, nats.ErrMaxPayload) {
		// The broker takes less than the cluster was set up for. The change is
		// committed all the same, so say that it was not published.
		p.o.Logger.Warn("event is too large for the broker", "key", e.Key, "bytes", len(e.Value), "revision", e.Revision)
		return s.reset(Range{From: e.Revision, To: e.Revision})
	}
	if err == nil {
		p.events.Add(1)
	}
	return err
}

func (s *session) reset(lost Range) error {
	p := s.p
	p.resets.Add(1)
	p.lastReset.Store(&lost)
	p.o.Logger.Warn("events may not have been published", "from", lost.From, "to", lost.To)
	return p.publishJSON(p.o.Subjects.Reset(), Reset{Cluster: p.o.Cluster, Term: p.o.Term, Range: lost})
}

// confirm pings behind what was published and records what the pong proves.
func (s *session) confirm(ctx context.Context) error {
	p := s.p
	for {
		select {
		case <-s.dirty:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		revision := p.published.Load()
		flush, cancel := context.WithTimeout(ctx, confirmTimeout)
		err := p.o.Conn.FlushWithContext(flush)
		cancel()
		if err != nil {
			return fmt.Errorf("nats: the broker does not answer: %w", err)
		}
		if p.o.Conn.Stats().Reconnects != s.connection {
			return errDisconnected
		}
		p.confirm(revision)
	}
}

func (p *Publisher) confirm(revision uint64) {
	p.lost = nil
	p.confirmed.Store(revision)
	p.mu.Lock()
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	if p.o.Confirmed != nil {
		p.o.Confirmed(revision)
	}
}

// beacon publishes beacons. What it reads as published was handed to the
// connection before, and so goes out before.
func (s *session) beacon(ctx context.Context) error {
	p := s.p
	tick := time.NewTicker(BeaconPeriod)
	defer tick.Stop()
	for {
		err := p.publishJSON(p.o.Subjects.Beacon(), Beacon{
			Cluster:   p.o.Cluster,
			Term:      p.o.Term,
			Seq:       p.seq.Add(1),
			Published: p.published.Load(),
			Resets:    p.resets.Load(),
			Reset:     p.lastReset.Load(),
		})
		if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-s.beacons:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
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
