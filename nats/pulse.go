package nats

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// silence is how long a client hears no beacon until its watches are stale: less
	// than two periods, so that they are within two, and more than one by what a
	// busy machine needs.
	silence = BeaconPeriod * 9 / 5

	// putBack is behind how long a silence a beacon of a lower term, or of one that was
	// passed, does not come from a leader that has not noticed its end, nor late: its lease
	// is over long before.
	putBack = 10 * BeaconPeriod

	pulseTick = BeaconPeriod / 10

	// probeTime is how long a broker may take to answer a ping when no beacon comes,
	// and probePause how long it is left alone then.
	probeTime  = 2 * time.Second
	probePause = 5 * time.Second
)

// pulse listens, for all watches of a client, to what the leader says of itself, and to
// what becomes of the connection, and tells them when there is reason to doubt that they
// have everything.
type pulse struct {
	c       *Client
	started bool // the client's lock is held
	subs    []*nats.Subscription
	made    uint64    // how often the connection had been made anew before these
	ending  sync.Once // some may close the client at the same time
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu        sync.Mutex
	heard     time.Time // when the last beacon came, or when listening began
	last      Beacon    // of the highest term
	published uint64
	silent    bool
	overtaken uint64 // resets that the last beacon has counted, and that have not come yet, or were lost
}

func newPulse(c *Client) *pulse { return &pulse{c: c, cancel: func() {}} }

// start begins to listen, once.
func (p *pulse) start() error {
	if p.started {
		return nil
	}
	if err := p.subscribe(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.wg.Go(func() { p.run(ctx) })
	p.wg.Go(func() { p.listen(ctx) })
	p.started = true
	return nil
}

func (p *pulse) subscribe() error {
	conn, subjects := p.c.o.Conn, p.c.o.Subjects
	p.made = conn.Stats().Reconnects
	p.mu.Lock()
	p.heard = time.Now()
	p.mu.Unlock()
	for subject, handle := range map[string]nats.MsgHandler{subjects.Beacon(): p.beacon, subjects.Reset(): p.reset} {
		sub, err := conn.Subscribe(subject, handle)
		if err != nil {
			p.unsubscribe()
			return cannotSubscribe(subject, err)
		}
		p.subs = append(p.subs, sub)
	}
	return nil
}

func (p *pulse) unsubscribe() {
	for _, sub := range p.subs {
		sub.Unsubscribe() // its only error is that the connection is closed
	}
	p.subs = nil
}

func (p *pulse) stop() {
	p.ending.Do(p.unsubscribe)
	p.cancel()
	p.wg.Wait()
}

func (p *pulse) beacon(m *nats.Msg) {
	b, err := DecodeBeacon(m)
	if err != nil {
		p.c.malformed(err)
		return
	}
	doubt, replaced := p.hear(b, time.Now())
	switch {
	case replaced:
		p.c.each(func(w *Watch) { w.replaced() })
	case doubt.cause != "":
		p.c.each(func(w *Watch) { w.doubt(doubt) })
	}
}

// hear takes a beacon, and returns what it gives reason to doubt; replaced if it is that
// of another cluster in the place of one that is gone, or of the same one as it was at an
// earlier time, which somebody has put back.
func (p *pulse) hear(b Beacon, now time.Time) (d doubt, replaced bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.last
	repeated := b.Term < before.Term || b.Term == before.Term && b.Seq <= before.Seq
	if before.Cluster != "" && (before.Cluster != b.Cluster || repeated) {
		patience := silence
		if before.Cluster == b.Cluster {
			patience = putBack
		}
		if now.Sub(p.heard) < patience {
			// Two clusters, or leaders, on the same subjects: stay with one. Or the
			// beacon was held up on a connection that the leader had lost.
			return doubt{}, false
		}
		p.last, p.heard, p.silent, p.published, p.overtaken = b, now, false, b.Published, 0
		return doubt{}, true
	}
	switch {
	case before.Cluster == "":
		p.overtaken = 0 // they were announced before anybody listened
	case b.Term == before.Term:
		p.overtaken = b.Resets - min(b.Resets, before.Resets)
	default:
		p.overtaken = b.Resets
	}
	p.last, p.heard = b, now
	p.published = max(p.published, b.Published)
	switch {
	case before.Cluster == "":
	case b.Term != before.Term:
		// If it has announced a loss before, or said something else, that was missed.
		d = doubt{cause: "there is a new leader", loss: b.Resets > 0 || b.After > 0, all: true, ask: true}
	case b.Resets != before.Resets:
		d = doubt{cause: "the leader may not have published everything", loss: true, all: true}
		if b.Reset != nil && b.Resets == before.Resets+1 && b.After <= before.Seq {
			d.lost = *b.Reset
		}
	case b.After > before.Seq:
		d = doubt{cause: "a beacon is missing", loss: true, all: true}
	}
	if p.silent {
		p.silent = false
		if d.cause == "" {
			d = doubt{cause: "beacons come again", all: true, ask: true}
		}
	}
	return d, false
}

func (p *pulse) reset(m *nats.Msg) {
	r, err := DecodeReset(m)
	if err != nil {
		p.c.malformed(err)
		return
	}
	p.mu.Lock()
	ours := p.last.Cluster == "" || p.last.Cluster == r.Cluster
	if ours && r.Term == p.last.Term {
		if p.overtaken > 0 || p.last.Reset != nil && *p.last.Reset == r.Range {
			// A beacon has overtaken it, on the other subscription. Or it had counted one
			// that was lost, and this is new: then the next one says so.
			ours = false
			p.overtaken -= min(p.overtaken, 1)
		} else {
			p.last.Resets, p.last.Reset = p.last.Resets+1, &r.Range // the next one counts it
		}
	}
	p.mu.Unlock()
	if ours {
		d := doubt{cause: "the leader may not have published everything", loss: true, lost: r.Range, all: true}
		p.c.each(func(w *Watch) { w.doubt(d) })
	}
}

// run notices connections that come and go, or are dead, until ctx ends.
func (p *pulse) run(ctx context.Context) {
	conn := p.c.o.Conn
	status := conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer conn.RemoveStatusListener(status)
	tick := time.NewTicker(pulseTick)
	defer tick.Stop()
	var probed time.Time
	connections := p.made
	for {
		select {
		case <-ctx.Done():
			return
		case <-status: // it may be out of date, and one may be missing
		case <-tick.C:
		}
		if conn.IsClosed() {
			p.c.each(func(w *Watch) { w.end(fmt.Errorf("nats: %w", nats.ErrConnectionClosed)) })
			return
		}
		// The client library also counts the connections on which it is let in by nobody.
		if !conn.IsConnected() {
			p.fall("there is no connection")
		} else if n := conn.Stats().Reconnects; n != connections {
			connections = n
			p.c.each(func(w *Watch) { w.doubt(doubt{cause: "the connection was lost", loss: true, all: true, ask: true}) })
		}
		if p.overdue() && time.Since(probed) > probePause {
			p.probe(ctx)
			probed = time.Now()
		}
	}
}

// listen notices silence, until ctx ends. It asks nothing of the connection, of which the
// client library has the lock for as long as it writes something long.
func (p *pulse) listen(ctx context.Context) {
	tick := time.NewTicker(pulseTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.c.each((*Watch).look)
		if p.overdue() {
			p.fall("nothing is heard of the leader")
		}
	}
}

func (p *pulse) overdue() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.heard) > silence
}

// fall makes all watches stale.
func (p *pulse) fall(cause string) {
	p.mu.Lock()
	p.silent = true
	p.mu.Unlock()
	p.c.each(func(w *Watch) { w.fall(cause) })
}

// probe gives up a connection whose broker does not answer. A machine or a network that
// vanishes closes no connection, and the client library's own pings notice it late.
func (p *pulse) probe(ctx context.Context) {
	conn := p.c.o.Conn
	if !conn.IsConnected() {
		return
	}
	before := movement(conn)
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	err := conn.FlushWithContext(ctx)
	if movement(conn) != before {
		return // over a slow link its answer comes behind much else: a list, say
	}
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		p.c.o.Logger.Debug("the broker does not answer; connecting anew")
		conn.ForceReconnect() // its only error is that the connection is closed
	}
}

// state returns through which revision events were published, as far as is known, and
// whether the leader is heard.
func (p *pulse) state() (published uint64, heard bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.published, !p.silent && p.last.Cluster != ""
}
