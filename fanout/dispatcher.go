package fanout

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Dispatcher moves events from a [Ring] to the watchers of a [Registry]. It is
// one goroutine, which its owner starts (go d.Run(ctx)) and waits for; it never
// waits for a consumer.
type Dispatcher struct {
	ring     *Ring
	registry *Registry
	options  DispatcherOptions
	feed     *feed
	started  atomic.Bool

	delivered atomic.Uint64 // revision through which it has delivered

	// The rest belongs to the goroutine in Run.
	cursor     *Cursor // while the dispatcher rests, of whoever rouses it
	keys       grouping
	gaps       gapLog
	walk       walk
	progress   progress
	matches    []*watcher // of one event
	inboxes    inboxes    // of the watchers of patterns
	report     lossReport
	precedence precedence
	predictor  predictor
	likely     func(hash uintptr) bool // the predictor's waits
	offers     int                     // made
}

// maxRead bounds the events of one read of the ring, unless a batch has more.
// What waits is read at once, so that a watcher is locked and woken once for all
// that is its own; what comes behind waits for as long.
const maxRead = 8192

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
		return nil, badOption("DispatcherOptions.After", "is %d, and the revisions of a Front begin anew with the process; leave it out", o.After)
	}
	d := &Dispatcher{ring: ring, registry: registry, options: o, cursor: ring.Cursor(o.After), keys: grouping{hash: registry.keys.hash, may: registry.keys.may}}
	d.feed = &feed{ring: ring, after: o.After, dispatcher: d}
	d.cursor.spare = d.feed.spare
	if !registry.feed.CompareAndSwap(nil, d.feed) {
		d.cursor.Close()
		return nil, fmt.Errorf("%w: the registry has a dispatcher already", ErrBadOption)
	}
	d.likely = d.predictor.waits
	d.cursor.spin = o.Spin
	if runtime.GOMAXPROCS(0) > 1 {
		d.cursor.kick = make(chan struct{}, 1)
	}
	return d, nil
}

// Run delivers until ctx ends. Then every watcher ends with [ErrClosed], after
// what it has buffered, and Run returns the cause of ctx. It may be called
// once; a second call returns an error that wraps [ErrClosed], and one without a
// context [ErrBadOption].
func (d *Dispatcher) Run(ctx context.Context) error {
	if ctx == nil {
		return fmt.Errorf("%w: the context is nil", ErrBadOption)
	}
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
	defer d.progress.stop(d)
	events := make([]*Event, 0, maxRead)
	for ctx.Err() == nil {
		d.cursor.skip(d.feed.passed.Load())
		events = d.cursor.Poll(events[:0])
		if len(events) > 0 {
			if d.options.Observe == nil {
				d.deliver(events)
			} else {
				d.observed(events)
			}
			d.registry.stats.events.Add(uint64(len(events)))
			d.delivered.Store(d.cursor.Last())
			if cap(events) > maxRead {
				events = make([]*Event, 0, maxRead) // a batch had made it grow
			}
			clear(events) // an idle dispatcher pins no event
		}
		d.report.line(d)
		d.progress.tick(d)
		switch {
		case d.walk.active || d.progress.active:
			// Silent watchers are still to be told: look, do not wait.
			d.flagSlice()
			d.progress.slice(d)
		case len(events) > 0:
		case d.registry.Len() == 0:
			d.rest(ctx)
		default:
			d.cursor.wait(ctx)
		}
	}
	for d.walk.active {
		d.flagSlice() // a loss is told before the end
	}
	d.report.end(d)
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
// Where nobody watches what is changed there is nothing to deliver, and it is not
// behind.
func (d *Dispatcher) Revision() uint64 {
	if d.feed.resting.Load() {
		return max(d.ring.Revision(), d.delivered.Load())
	}
	return max(d.delivered.Load(), d.feed.passed.Load())
}
