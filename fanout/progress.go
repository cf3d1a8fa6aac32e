package fanout

import "time"

// progress is where telling watchers of progress stands. There is one ticker for
// all of them, and only while there are any.
//
// A watcher is told how far the dispatcher has delivered by one event, which
// waits beside its buffer: it is taken when nothing else is left, and forgotten
// when something comes. So it never stands in the way of a change, it needs no
// room, and it comes in order.
type progress struct {
	ticker *time.Ticker
	active bool // watchers are being told
	end    int  // of these, those in roster slots below it are still to come; negative at the start
}

const progressSlice = 256 // watchers told between two reads of the ring

// tick starts and stops the ticker as there are watchers, and begins a round when
// it is time.
func (p *progress) tick(d *Dispatcher) {
	wanted := d.registry.asked.Load() > 0
	switch {
	case wanted && p.ticker == nil:
		p.ticker = time.NewTicker(d.options.ProgressInterval)
		d.cursor.tick = p.ticker.C
	case !wanted && p.ticker != nil:
		p.stop(d)
	}
	if p.ticker == nil || p.active {
		return
	}
	if !d.cursor.ticked {
		select {
		case <-d.cursor.tick:
		default:
			return
		}
	}
	d.cursor.ticked = false
	p.active, p.end = true, -1
}

func (p *progress) stop(d *Dispatcher) {
	if p.ticker != nil {
		p.ticker.Stop()
		p.ticker, d.cursor.tick, d.cursor.ticked, p.active = nil, nil, false, false
	}
}

// slice tells some watchers; the rest after the next events.
func (p *progress) slice(d *Dispatcher) {
	if !p.active {
		return
	}
	var slice [progressSlice]*watcher
	list, end := d.registry.progress.slice(p.end, slice[:0])
	e := &Event{Op: Progress, Revision: d.cursor.Last()}
	for _, w := range list {
		if cause := w.tell(e, &d.gaps); cause != nil {
			d.cancel(w, cause)
		}
	}
	p.end, p.active = end, end > 0
}

// asked reports whether the watcher is to be told. It takes the lock because a
// consumer may be making the extra part just now.
func (w *watcher) asked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.extra != nil && w.extra.wantProgress
}

// tell leaves word of progress for the consumer.
func (w *watcher) tell(e *Event, gaps *gapLog) (cancel error) {
	w.mu.Lock()
	if !w.flags.have(ended) && e.Revision >= w.above {
		if cancel = w.hearOf(gaps); cancel == nil {
			w.extra.progress = e
		}
	}
	wake := w.waker()
	w.mu.Unlock()
	signal(wake)
	return cancel
}
