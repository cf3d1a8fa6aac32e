package fanout

import (
	"context"
	"sync"
	"sync/atomic"
)

// feed is where a registry's events come from.
//
// # Resting
//
// While nobody watches there is nothing to deliver. The dispatcher then rests: it
// does not announce to the ring that it waits, so the writer does not wake it,
// and it looks at no event. The first watcher rouses it.
//
// Events that were published meanwhile are for nobody, and may be gone from the
// ring. So whoever registers a watcher moves the dispatcher's cursor to the present
// before the watcher reads off the revision where it starts: all above that
// revision lies ahead of the cursor.
//
// That neither overlooks the other: the dispatcher says that it rests and then
// counts the watchers, whoever registers counts his and then looks whether it
// rests.
type feed struct {
	ring       *Ring
	after      uint64 // what lies at or below is history, even if it is yet to come
	dispatcher *Dispatcher

	mu      sync.Mutex // held by who rouses, and moves the resting dispatcher's cursor
	resting atomic.Bool

	passed atomic.Uint64 // revision up to which nothing is left to deliver; see spare
}

// rest returns when a watcher has come or ctx has ended.
func (d *Dispatcher) rest(ctx context.Context) {
	f := d.feed
	f.mu.Lock()
	f.resting.Store(true)
	if d.registry.Len() > 0 {
		// Somebody has come who did not rouse, and may stand below what has been published
		// since. The next one would, and move the cursor past that.
		f.resting.Store(false)
	}
	f.mu.Unlock()
	for f.resting.Load() && d.registry.Len() == 0 && ctx.Err() == nil {
		select {
		case <-d.cursor.wake: // or an old signal
		case <-d.cursor.due:
			d.report.line(d)
		case <-ctx.Done():
		}
	}
	// Who came just before may stand below the present, so the cursor stays where
	// it is: only who rouses may move it.
	f.mu.Lock()
	if f.resting.Load() && d.registry.Len() == 0 {
		d.delivered.Store(max(f.ring.Revision(), d.delivered.Load())) // it ends with nobody behind
	}
	f.resting.Store(false)
	f.mu.Unlock()
}

// rouse ends the dispatcher's rest, if it rests.
func (f *feed) rouse() {
	if !f.resting.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.resting.Load() {
		d := f.dispatcher
		d.cursor.skip(f.ring.Revision())
		d.delivered.Store(max(d.cursor.Last(), d.delivered.Load()))
		f.resting.Store(false)
		signal(d.cursor.wake)
	}
}

// skip moves the cursor to behind a revision, unless it is there already.
func (c *Cursor) skip(revision uint64) {
	if revision > c.last {
		c.last = revision
		c.pos, c.lost = c.ring.search(revision)
	}
}
