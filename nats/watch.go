package nats

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// Defaults of [WatchOptions].
const (
	DefaultMaxKeys         = 1 << 20
	DefaultMaxPending      = 65_536
	DefaultMaxPendingBytes = 64 << 20
)

// keptDead is how many deleted keys a watch remembers before it makes sure that it may
// forget them: as many as the store. If it cannot for long, it forgets some all the same,
// from twice as many on.
const keptDead = 65_536

// WatchOptions configures a [Watch]. The zero value is a watch that heals itself.
type WatchOptions struct {
	// Raw gives events as they come, without the state at the beginning. Nothing is
	// healed; what is lost is told.
	Raw bool
	// MaxKeys bounds the living keys that match the pattern, which the watch remembers
	// at about 100 bytes each and the key. With more, it ends with [ErrTooManyKeys], when
	// the leader has said that there are; until then it may remember twice as many, as where
	// all keys were replaced while it was away. A raw watch asks nobody, and ends at once.
	// Deleted keys that it still remembers take their room, or that of 131,072 keys
	// beside them. Default 1,048,576.
	MaxKeys int
	// MaxPending and MaxPendingBytes bound what waits for the consumer, with its
	// keys and values. Default 65,536 updates and 64 MiB; as much again may wait in
	// the client library.
	MaxPending      int
	MaxPendingBytes int
}

// ErrTooManyKeys ends a watch of more living keys than [WatchOptions] allows.
var ErrTooManyKeys = errors.New("nats: the watch has too many keys")

// Watch follows the keys that match a pattern, over one subscription. It gives the
// state when it began, then every change, and when something was lost, whatever the
// reason, it finds that out and gives the difference: what it gave, taken together,
// becomes equal to the store again. Intermediate values may be missing then, and a
// deletion that was only found by its effect has the revision of the state that it was
// missing from, and no time.
//
// The consumer never holds up the broker, nor other watches. It takes what is there with
// [Watch.Next], and one that stays away for long is given the difference when it comes
// back.
type Watch struct {
	client  *Client
	pattern string
	o       WatchOptions
	sub     *nats.Subscription
	drained chan struct{} // closed when sub has handed over its last event

	cancel context.CancelFunc
	ended  chan struct{} // closed when its goroutine has ended
	alarm  chan struct{} // there is a doubt, or room: for that goroutine
	ready  chan struct{} // there is an update, or the end: for the consumer
	turn   turn          // of that goroutine

	mu      sync.Mutex
	err     error // why it has ended
	view    *view
	backlog backlog
	dropped int       // by the client library
	listed  bool      // a list has been completed
	settled bool      // view.floor holds
	synced  bool      // Synced was said
	stale   bool      // Stale was said
	silent  string    // why nothing is heard of the leader; empty if it is
	behind  bool      // the backlog was taken back; nothing is taken until the consumer comes
	missed  bool      // raw: there was no room for a change, or a loss
	cramped bool      // what was asked for waits for room
	round   uint64    // how often all was taken back, or begun anew
	newest  uint64    // highest revision of an event that came, since then
	ask     bool      // raw: the leader is to be asked where it stands
	told    Range     // raw: the last range that was said to be lost
	doubts  uint64    // how often there was one
	healed  uint64    // of those
	spread  bool      // many watches have the last one at once
	verify  time.Time // when to look for what is missing, without a doubt; zero for not
	stats   WatchStats
}

// WatchStats counts what became of a watch.
type WatchStats struct {
	Events   uint64 // published changes that arrived
	Repeats  uint64 // of those, known already
	Losses   uint64 // times at which something was found to be missing, or likely to be
	Healed   uint64 // changes that did not arrive and were asked for, the first state left out
	CatchUps uint64 // times at which that was asked, verifications included
	Keys     int    // that it remembers now, deleted ones included
	Pending  int    // updates that wait for the consumer now
}

// Watch begins to watch; see [Watch] and, for pattern, [fanout.CheckPattern]. It returns
// when the broker knows, and does not wait for a leader; the state is given when there is
// one. The watch ends with [Watch.Stop], with ctx, or with an error. Errors here wrap
// [fanout.ErrBadPattern], [fanout.ErrBadOption] or [ErrClientClosed], or are the
// connection's: [nats.ErrPermissionViolation] for who may not subscribe to the pattern's
// events, or to the beacon and resets, and [nats.ErrMaxSubscriptionsExceeded] where the broker
// lets the connection have no more. The latter is told once: the broker names no subscription,
// and the client library keeps what it said.
func (c *Client) Watch(ctx context.Context, pattern string, o WatchOptions) (*Watch, error) {
	if err := fanout.CheckPattern(pattern); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &Watch{
		client: c, pattern: pattern, o: o, view: newView(o.Raw), cancel: cancel,
		backlog: backlog{maxItems: o.MaxPending, maxBytes: o.MaxPendingBytes},
		drained: make(chan struct{}), ended: make(chan struct{}),
		alarm: make(chan struct{}, 1), ready: make(chan struct{}, 1),
		turn:   turn{places: c.turns.usual},
		doubts: 1, // it has nothing yet
	}
	before := c.o.Conn.LastError()
	err := c.listen()
	if err == nil {
		err = w.subscribe(ctx, before)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	if err := c.add(w); err != nil {
		w.unsubscribe()
		cancel()
		return nil, err
	}
	unhook := context.AfterFunc(ctx, func() { w.fail(context.Cause(ctx)) })
	go func() {
		defer close(w.ended)
		defer c.remove(w)
		defer w.unsubscribe()
		defer unhook()
		w.run(running)
	}()
	return w, nil
}

func (o *WatchOptions) check() error {
	for _, f := range []struct {
		name  string
		value *int
		def   int
	}{
		{"MaxKeys", &o.MaxKeys, DefaultMaxKeys},
		{"MaxPending", &o.MaxPending, DefaultMaxPending},
		{"MaxPendingBytes", &o.MaxPendingBytes, DefaultMaxPendingBytes},
	} {
		if *f.value < 0 {
			return fmt.Errorf("%w: WatchOptions.%s is %d; give 1 or more, or 0 for %d", fanout.ErrBadOption, f.name, *f.value, f.def)
		}
		if *f.value == 0 {
			*f.value = f.def
		}
	}
	return nil
}

// subscribe returns when the broker knows of the subscription. Before is what the broker had
// refused last.
func (w *Watch) subscribe(ctx context.Context, before error) (err error) {
	subject := w.client.o.Subjects.Events(w.pattern)
	if w.sub, err = w.client.o.Conn.Subscribe(subject, w.receive); err != nil {
		return cannotSubscribe(subject, err)
	}
	w.sub.SetClosedHandler(func(string) { close(w.drained) })
	err = w.sub.SetPendingLimits(w.o.MaxPending, w.o.MaxPendingBytes)
	if err == nil {
		err = w.client.flush(ctx)
	}
	if err != nil {
		err = cannotSubscribe(subject, err)
	} else {
		err = w.client.heard(ctx, before, subject)
	}
	if err != nil {
		w.unsubscribe()
	}
	return err
}

// unsubscribe waits until no event is being handled any more.
func (w *Watch) unsubscribe() {
	if w.sub.Unsubscribe() == nil {
		<-w.drained
	}
}

// Next waits for the next update. When the watch has ended, what it still held comes
// first, then its error: [ErrStopped], that of the context it was made with,
// [ErrTooManyKeys], [ErrClientClosed], an [*Error], or the connection's. If ctx ends
// first, it is the cause of ctx, and nothing is lost. One goroutine at a time may call
// it.
func (w *Watch) Next(ctx context.Context) (Update, error) {
	for {
		u, ok, err := w.take()
		if ok || err != nil {
			return u, err
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return Update{}, context.Cause(ctx)
		}
	}
}

// take returns an update if there is one.
func (w *Watch) take() (u Update, ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u, ok = w.backlog.pop()
	switch {
	case ok && w.backlog.roomy():
		w.roomAgain()
	case !ok && w.err != nil:
		return Update{}, false, w.err
	case !ok && w.behind:
		w.behind = false
		poke(w.alarm)
	}
	return u, ok, nil
}

// Updates yields updates until the watch has ended; then see [Watch.Err].
func (w *Watch) Updates() iter.Seq[Update] {
	return func(yield func(Update) bool) {
		for {
			u, err := w.Next(context.Background())
			if err != nil || !yield(u) {
				return
			}
		}
	}
}

// Err returns why the watch has ended, nil if it has not.
func (w *Watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// ErrStopped ends a watch that was stopped.
var ErrStopped = errors.New("nats: the watch was stopped")

// Stop ends the watch and waits for its goroutine. It may be called more than once, and
// from any goroutine.
func (w *Watch) Stop() { w.end(ErrStopped) }

func (w *Watch) end(err error) {
	w.fail(err)
	<-w.ended
}

// fail ends the watch, unless it has ended before, and waits for nothing.
func (w *Watch) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endWith(err)
}

// endWith is fail for who holds the lock.
func (w *Watch) endWith(err error) {
	if w.err == nil {
		w.err = err
		w.cancel()
		poke(w.ready)
	}
}

// Stats returns the counts.
func (w *Watch) Stats() WatchStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Keys, s.Pending = len(w.view.keys), w.backlog.len()
	return s
}
