package fanouttest

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/watchcast/watchcast/fanout"
)

// Receiver records what one watcher received, and what its consumer read, in
// order. One goroutine at a time should record; checks may be made from any, of
// what was recorded by then.
type Receiver struct {
	log    *Log
	name   string
	filter fanout.Filter
	start  uint64

	conflated, initial, own bool
	atLeastOnce, unmarked   bool
	healing                 bool
	ops                     []fanout.Op // empty: all
	read                    func() (uint64, State)

	mu      sync.Mutex
	records []record
	ended   error
}

// record is an event that was received, or a state that was read.
type record struct {
	event    *fanout.Event // nil for a read
	asked    bool          // the event did not come by itself
	revision uint64        // of the read
	state    State
}

// Receiver returns a recorder for one watcher of filter. It is to receive what
// lies above start ([fanout.Watcher.Start]), and its consumer is taken to know
// the state there, as one who read it and watches from then on. The name is for
// messages. Any goroutine may call it.
func (l *Log) Receiver(name string, filter fanout.Filter, start uint64, options ...ReceiverOption) *Receiver {
	r := &Receiver{log: l, name: name, filter: filter, start: start}
	for _, option := range options {
		option(r)
	}
	return r
}

// Receive records the next event. It is copied. A nil one counts as an event that was
// never committed.
func (r *Receiver) Receive(e *fanout.Event) {
	if e == nil {
		e = new(fanout.Event)
	}
	r.add(record{event: copyOf(e)})
}

// Answer records a change that the receiver was given because it asked what it had missed,
// as one that is [Healing] does. It says how its key stands at its revision: whatever had
// the key last, or that it did not exist. It is copied. A nil one counts as in
// [Receiver.Receive].
func (r *Receiver) Answer(e *fanout.Event) {
	if e == nil {
		e = new(fanout.Event)
	}
	r.add(record{event: copyOf(e), asked: true})
}

// Read records that the consumer read the state: what stood at revision. Whoever
// was told of a loss ([fanout.Lagged], [fanout.Reset]) gets back in step that way.
// Keys of other filters are ignored.
func (r *Receiver) Read(revision uint64, state State) {
	r.add(record{revision: revision, state: state.restrict(r.filter).clone()})
}

// End records why the watcher ended. With [fanout.ErrLagged] the receiver was told
// that it lost what followed the last event; other ends tell it nothing.
func (r *Receiver) End(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = err
}

// Follow receives from w until that ends or ctx does, reads again where it must
// ([RereadsWith]), and returns why it ended. It blocks only the caller.
func (r *Receiver) Follow(ctx context.Context, w *fanout.Watcher) error {
	for {
		e, err := w.Next(ctx)
		if err != nil {
			r.End(err)
			return err
		}
		r.Receive(e)
		if r.read != nil && (e.Op == fanout.Lagged || e.Op == fanout.Reset) {
			r.Read(r.read())
		}
	}
}

// Through returns the revision through which the receiver got, what it was told
// to have lost included: what its watcher was good for, if it was stopped before
// it was drained. A batch counts once it is whole; an initial state too, and
// before that it is 0.
func (r *Receiver) Through() uint64 {
	h := r.history()
	if !h.begun() {
		return 0
	}
	through := h.start
	var last *fanout.Event
	for _, e := range h.events() {
		if e.Revision >= through {
			through, last = e.Revision, e
		}
	}
	if last != nil && !last.Control() && !h.books().whole(last.Revision) {
		return last.Revision - 1
	}
	return through
}

func (r *Receiver) add(rec record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, rec)
}

// history is what a receiver recorded up to one moment, beside what was committed
// by then.
type history struct {
	*Receiver
	view
	records []record
	ended   error
	body    int // index of the first record behind the initial state
}

func (r *Receiver) history() *history {
	r.mu.Lock()
	h := &history{Receiver: r, records: r.records, ended: r.ended}
	r.mu.Unlock()
	h.view = r.log.committed() // afterwards: it has all that was received
	if r.initial {
		h.body = len(h.records)
		for i, rec := range h.records {
			if rec.event != nil && rec.event.Op == fanout.Progress {
				h.body = i + 1
				break
			}
		}
	}
	return h
}

// events goes through what was received behind the initial state, control events
// included, with the index of each.
func (h *history) events() iter.Seq2[int, *fanout.Event] {
	return func(yield func(int, *fanout.Event) bool) {
		for i := h.body; i < len(h.records); i++ {
			if e := h.records[i].event; e != nil && !yield(i, e) {
				return
			}
		}
	}
}

// initials goes through the initial state, without the Progress at its end.
func (h *history) initials() iter.Seq2[int, *fanout.Event] {
	return func(yield func(int, *fanout.Event) bool) {
		for i := range h.body {
			e := h.records[i].event
			if e != nil && e.Op != fanout.Progress && !yield(i, e) {
				return
			}
		}
	}
}

// begun reports whether the initial state has come to its end, if there is one.
func (h *history) begun() bool {
	if !h.initial || h.body == 0 {
		return !h.initial
	}
	e := h.records[h.body-1].event
	return e != nil && e.Op == fanout.Progress
}

// cancelled reports whether the watcher ended because it lagged.
func (h *history) cancelled() bool { return errors.Is(h.ended, fanout.ErrLagged) }
