package fanout

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// Dispatcher moves events from a [Ring] to the watchers of a [Registry]. It is
// one goroutine, which its owner starts (go d.Run(ctx)) and waits for; it never
// waits for a consumer.
type Dispatcher struct {
	ring     *Ring
	registry *Registry
	options  DispatcherOptions
	started  atomic.Bool

	// The rest belongs to the goroutine in Run.
	cursor  *Cursor
	gaps    gapLog
	walk    walk
	matches []*watcher // of one event
	touched []*watcher // by the batch that is being delivered
	report  lossReport
}

const (
	walkSlice    = 256         // watchers flagged between two batches of events
	reportPeriod = time.Minute // at most one line about losses
)

// NewDispatcher joins a ring and a registry; a registry has one dispatcher. The
// error wraps [ErrBadOption].
func NewDispatcher(ring *Ring, registry *Registry, o DispatcherOptions) (*Dispatcher, error) {
	if ring == nil || registry == nil {
		return nil, fmt.Errorf("%w: a dispatcher needs a ring and a registry", ErrBadOption)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if !registry.bind(ring, o.After) {
		return nil, fmt.Errorf("%w: the registry has a dispatcher already", ErrBadOption)
	}
	d := &Dispatcher{ring: ring, registry: registry, options: o, cursor: ring.Cursor(o.After)}
	d.cursor.spin = o.Spin
	return d, nil
}

// Run delivers until ctx ends. Then every watcher ends with [ErrClosed], after
// what it has buffered, and Run returns the cause of ctx. It may be called
// once; a second call returns an error that wraps [ErrClosed].
func (d *Dispatcher) Run(ctx context.Context) error {
	if !d.started.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: Run was called before", ErrClosed)
	}
	defer d.registry.close()
	defer d.cursor.Close()
	events := make([]*Event, 0, DefaultBatch)
	for ctx.Err() == nil {
		if d.walk.active {
			// Silent watchers are still to be told of a gap: look, do not wait.
			events = d.cursor.Poll(events[:0])
		} else {
			events, _ = d.cursor.Next(ctx, events[:0])
		}
		for _, e := range events {
			d.deliver(e)
		}
		d.registry.stats.events.Add(uint64(len(events)))
		clear(events) // an idle dispatcher pins no event
		d.flagSlice()
		d.report.line(d.options.Logger, d.registry)
	}
	for d.walk.active {
		d.flagSlice() // a loss is told before the end
	}
	return context.Cause(ctx)
}

// deliver hands one event to everyone it concerns.
func (d *Dispatcher) deliver(e *Event) {
	switch e.Op {
	case Lagged:
		d.lost(e.PrevRevision, e.Revision)
		return
	case Reset:
		d.broadcast(e)
		return
	}
	var matched, dropped int
	offer := func(w *watcher) {
		hit, lost := w.offer(e, &d.gaps)
		if !hit {
			return
		}
		matched++
		dropped += lost
		if e.inBatch() {
			d.touched = append(d.touched, w)
		}
	}
	for w := d.registry.keys.get(e.Key); w != nil; w = w.next.Load() {
		offer(w)
	}
	d.matches = d.registry.patterns.match(e.Key, d.matches[:0])
	for _, w := range d.matches {
		offer(w)
	}
	clear(d.matches)
	if e.inBatch() && e.Batch == e.BatchSize-1 {
		for _, w := range d.touched {
			w.commit()
		}
		clear(d.touched)
		d.touched = d.touched[:0]
	}
	if matched > 0 {
		d.registry.stats.matched.Add(uint64(matched))
	}
	if dropped > 0 {
		d.registry.stats.dropped.Add(uint64(dropped))
	}
}

// lost opens an epoch: everyone missed what they watch in from..to.
func (d *Dispatcher) lost(from, to uint64) {
	d.gaps.add(from, to)
	d.registry.epoch.Store(d.gaps.epoch)
	d.registry.stats.gaps.Add(1)
	d.registry.stats.lost.Add(to - from + 1)
	d.walk.begin(d.gaps.epoch)
}

// broadcast hands a control event to every watcher there is. It is rare (a
// snapshot was installed), and its place in the order matters, so it is done at
// once; and by a copy of the roster, because a walk may meet a watcher twice.
func (d *Dispatcher) broadcast(e *Event) {
	for _, w := range d.registry.roster.all() {
		if hit, dropped := w.offer(e, &d.gaps); hit {
			d.registry.stats.matched.Add(1)
			d.registry.stats.dropped.Add(uint64(dropped))
		}
	}
}

// walk is where the flagging of silent watchers stands.
type walk struct {
	active bool
	end    int    // roster slots below it are still to come; negative at the start
	epoch  uint64 // everyone has heard of it when this walk is over
	newest uint64 // gap found since: then walk once more
}

func (w *walk) begin(epoch uint64) {
	w.newest = epoch
	if !w.active {
		*w = walk{active: true, end: -1, epoch: epoch, newest: epoch}
	}
}

// flagSlice tells some watchers of the gaps; the rest after the next events.
func (d *Dispatcher) flagSlice() {
	if !d.walk.active {
		return
	}
	var slice [walkSlice]*watcher
	list, end := d.registry.roster.slice(d.walk.end, slice[:0])
	for _, w := range list {
		w.flag(&d.gaps)
	}
	d.walk.end = end
	if end > 0 {
		return
	}
	d.gaps.forget(d.walk.epoch)
	d.walk.active = false
	if d.walk.newest > d.walk.epoch {
		d.walk.begin(d.walk.newest)
	}
}

// lossReport says what was lost, one line a period.
type lossReport struct {
	last          time.Time
	dropped, lost uint64 // already reported
}

func (l *lossReport) line(log *slog.Logger, r *Registry) {
	dropped, lost := r.stats.dropped.Load(), r.stats.lost.Load()
	if dropped == l.dropped && lost == l.lost {
		return
	}
	now := time.Now()
	if now.Sub(l.last) < reportPeriod {
		return
	}
	log.Warn("watchers lost events",
		"dropped", dropped-l.dropped, "gap_revisions", lost-l.lost, "watchers", r.Len(), "period", reportPeriod)
	l.last, l.dropped, l.lost = now, dropped, lost
}
