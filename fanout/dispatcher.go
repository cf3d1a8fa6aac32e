package fanout

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
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

	delivered atomic.Uint64 // revision through which it has delivered

	// The rest belongs to the goroutine in Run.
	cursor  *Cursor
	gaps    gapLog
	walk    walk
	matches []*watcher // of one event
	inboxes inboxes    // of the watchers of patterns
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
	if o.After > 0 && ring.fronted.Load() {
		return nil, fmt.Errorf("%w: DispatcherOptions.After is %d, and the revisions of a Front begin anew with the process; leave it out", ErrBadOption, o.After)
	}
	if !registry.bind(ring, o.After) {
		return nil, fmt.Errorf("%w: the registry has a dispatcher already", ErrBadOption)
	}
	d := &Dispatcher{ring: ring, registry: registry, options: o, cursor: ring.Cursor(o.After)}
	d.cursor.spin = o.Spin
	if runtime.GOMAXPROCS(0) > 1 {
		d.cursor.kick = make(chan struct{}, 1)
	}
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
	running, stop := context.WithCancel(ctx)
	var kicked sync.WaitGroup
	kicked.Go(func() { d.kicked(running) })
	defer kicked.Wait()
	defer stop()
	events := make([]*Event, 0, DefaultBatch)
	for ctx.Err() == nil {
		if d.walk.active {
			// Silent watchers are still to be told of a gap: look, do not wait.
			events = d.cursor.Poll(events[:0])
		} else {
			events, _ = d.cursor.Next(ctx, events[:0])
		}
		d.deliver(events)
		d.registry.stats.events.Add(uint64(len(events)))
		d.delivered.Store(d.cursor.Last())
		if cap(events) > DefaultBatch {
			events = make([]*Event, 0, DefaultBatch) // a batch had made it grow
		}
		clear(events) // an idle dispatcher pins no event
		d.flagSlice()
		d.report.line(d.options.Logger, d.registry)
	}
	for d.walk.active {
		d.flagSlice() // a loss is told before the end
	}
	return context.Cause(ctx)
}

// kicked does nothing, whenever the dispatcher was woken. A goroutine that is made
// ready goes to a place of its own beside the run queue of the processor that the
// writer keeps busy, from where others take it only after some time. Making another
// ready pushes it out, into the queue that an idle processor looks at first.
func (d *Dispatcher) kicked(ctx context.Context) {
	for {
		select {
		case <-d.cursor.kick:
		case <-ctx.Done():
			return
		}
	}
}

// Revision returns the revision through which events were delivered, lost ranges
// included: what a watcher is to receive of them, it holds or has received. Any
// goroutine may call it; [Ring.Revision] says how far the dispatcher is behind.
func (d *Dispatcher) Revision() uint64 { return d.delivered.Load() }

// deliver hands events, whole revisions in order, to everyone they concern.
// Each watcher must receive what is its own in order; among watchers there is
// none. So a watcher takes all that is for it at one time.
func (d *Dispatcher) deliver(events []*Event) {
	for len(events) > 0 {
		n := 0
		for n < len(events) && !events[n].Control() {
			n++
		}
		if n > 0 {
			d.changes(events[:n])
			events = events[n:]
			continue
		}
		switch e := events[0]; e.Op {
		case Lagged:
			d.lost(e.PrevRevision, e.Revision)
		case Reset:
			d.broadcast(events[:1])
		}
		events = events[1:]
	}
}

// changes delivers to watchers of keys, of everything, and of other patterns.
func (d *Dispatcher) changes(events []*Event) {
	for i := 0; i < len(events); {
		key := events[i].Key
		end := i + 1
		for end < len(events) && events[end].Key == key {
			end++
		}
		for w := d.registry.keys.get(key); w != nil; w = w.next.Load() {
			d.offer(w, events[i:end])
		}
		i = end
	}
	for _, w := range d.registry.patterns.everything() {
		d.offer(w, events)
	}
	if d.registry.patterns.any() {
		d.patterns(events)
	}
}

// patterns collects for each watcher what its pattern matches and offers it.
func (d *Dispatcher) patterns(events []*Event) {
	for _, e := range events {
		if e.Batch == 0 && d.inboxes.events >= maxInboxes {
			d.inboxes.empty(d.offer)
		}
		d.matches = d.registry.patterns.match(e.Key, d.matches[:0])
		for _, w := range d.matches {
			d.inboxes.add(w, e)
		}
	}
	clear(d.matches)
	d.inboxes.empty(d.offer)
}

func (d *Dispatcher) offer(w *watcher, events []*Event) {
	l := w.offer(events, &d.gaps)
	if l.dropped > 0 {
		d.registry.stats.dropped.Add(l.dropped)
	}
	if l.cancel != nil {
		d.cancel(w, l.cancel)
	}
}

// cancel ends a watcher as its policy says.
func (d *Dispatcher) cancel(w *watcher, cause error) {
	d.registry.stats.cancelled.Add(1)
	w.end(cause, true)
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
func (d *Dispatcher) broadcast(reset []*Event) {
	for _, w := range d.registry.roster.all() {
		d.offer(w, reset)
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
		if cause := w.flag(&d.gaps); cause != nil {
			d.cancel(w, cause)
		}
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
