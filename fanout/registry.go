package fanout

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server/gsl"
)

// Registry knows who watches what. Registering is for any goroutine; looking up
// is for the one [Dispatcher] that the registry belongs to.
//
// Watchers of one exact key stand in a list that the key's entry in a lock-free
// index points to. Patterns that are not just > stand in a matcher of their
// own, and watchers of > in a third place, so that an event pays only for the
// kinds of watcher that exist.
type Registry struct {
	options RegistryOptions

	keys     *keyIndex[watcher]
	patterns patternIndex
	roster   roster // everyone
	progress roster // those who asked for progress
	contexts contexts

	count atomic.Int64         // watchers, those about to be registered included
	keyed atomic.Int64         // of one key each
	asked atomic.Int64         // for progress
	feed  atomic.Pointer[feed] // set by the dispatcher
	epoch atomic.Uint64        // the dispatcher's newest gap
	stats counters

	closeMu sync.RWMutex // a registration holds it for reading
	closed  bool
}

// NewRegistry returns an empty registry. The error wraps [ErrBadOption].
func NewRegistry(o RegistryOptions) (*Registry, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return &Registry{
		options:  o,
		keys:     newKeyIndex[watcher](),
		patterns: patternIndex{matcher: gsl.NewSublist[*watcher]()},
		roster:   roster{slot: func(w *watcher) *int32 { return &w.slot }},
		progress: roster{slot: func(w *watcher) *int32 { return &w.extra.progressSlot }},
	}, nil
}

// WatchKey registers a watcher of one key, given as it is (not as a subject
// form). It is live when WatchKey returns: it receives every change of the key
// with a revision above [Watcher.Start], or is told what it lost. It ends when
// ctx does, and what it holds by then is discarded. Any goroutine may call it; it
// waits for nobody but the owner's snapshot ([WithInitial]).
//
// Errors wrap [ErrBadKey], [ErrBadOption], [ErrTooManyWatchers] or [ErrClosed], or
// are the cause of ctx; with [FromRevision] also a [*CompactedError]; with
// [WithInitial] also [ErrSnapshot], or what RegistryOptions.Snapshot returned.
func (r *Registry) WatchKey(ctx context.Context, key string, opts ...WatchOption) (*Watcher, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	return r.register(ctx, &watcher{registry: r, filter: strings.Clone(key)}, opts)
}

// Watch registers a watcher of all keys whose subject form matches pattern (see
// [CheckPattern]): "app.color", "app.*", "app.>", ">". Otherwise it is like
// [Registry.WatchKey]; errors may wrap [ErrBadPattern] too.
func (r *Registry) Watch(ctx context.Context, pattern string, opts ...WatchOption) (*Watcher, error) {
	if err := CheckPattern(pattern); err != nil {
		return nil, err
	}
	w := &watcher{registry: r}
	if literal(pattern) {
		w.filter, _ = ParseSubjectForm(strings.Clone(pattern)) // as CheckPattern did
	} else {
		w.filter = strings.Clone(pattern)
		w.flags.put(isPattern, true)
	}
	return r.register(ctx, w, opts)
}

func (r *Registry) register(ctx context.Context, w *watcher, opts []WatchOption) (*Watcher, error) {
	if ctx == nil {
		return nil, fmt.Errorf("%w: the context is nil", ErrBadOption)
	}
	var o watchOptions
	for _, option := range opts {
		if option == nil {
			return nil, fmt.Errorf("%w: a WatchOption is nil", ErrBadOption)
		}
		if err := option(&o); err != nil {
			return nil, err
		}
	}
	if err := o.check(r.options.Buffer); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	w.buf = buffer{limit: uint32(o.buffer), policy: o.policy, ops: o.ops}
	w.above = math.MaxUint64 // nothing is delivered before it is known where it begins
	if w.flags.have(isPattern) || o.policy == Conflate || o.initial || o.resume || o.progress {
		w.more().wantProgress = o.progress
	}
	begun := false
	if o.initial || o.resume {
		if err := w.prepare(r, &o); err != nil {
			return nil, err
		}
		defer func() {
			if !begun {
				w.end(ErrClosed, false)
			}
		}()
	}

	r.closeMu.RLock()
	defer r.closeMu.RUnlock()
	if r.closed {
		return nil, fmt.Errorf("%w: the dispatcher has ended", ErrClosed)
	}
	if !r.admit() {
		return nil, fmt.Errorf("%w: there are %d; raise RegistryOptions.MaxWatchers or stop some", ErrTooManyWatchers, r.options.MaxWatchers)
	}
	f := r.feed.Load()
	if f != nil {
		f.rouse()
	}
	r.insert(w)
	if o.progress && f != nil {
		signal(f.dispatcher.cursor.wake) // it may have to start the ticker
	}
	r.contexts.add(ctx, w)
	if err := w.begin(r); err != nil {
		r.contexts.remove(w)
		r.remove(w)
		return nil, err
	}
	begun = true
	handle := &Watcher{inner: w}
	// A finalizer, where one would use AddCleanup today: that takes 24 bytes more,
	// a fifteenth of an idle watcher.
	runtime.SetFinalizer(handle, (*Watcher).abandoned)
	return handle, nil
}

// admit counts one more watcher, if there is room.
func (r *Registry) admit() bool {
	for {
		n := r.count.Load()
		if n >= int64(r.options.MaxWatchers) {
			return false
		}
		if r.count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// begin makes an inserted watcher live. The epoch is read before the revision:
// a gap known by then lies at or below the revision, so it is not the
// watcher's; and everything published after the revision was read finds the
// watcher in the registry.
func (w *watcher) begin(r *Registry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flags.have(ended) {
		return w.why()
	}
	w.flags.put(registered, true)
	if w.behind() != nil {
		return nil
	}
	w.epoch = r.epoch.Load()
	w.above = 0
	if f := r.feed.Load(); f != nil {
		w.above = max(f.ring.Revision(), f.after)
	}
	return nil
}

// prepare makes a watcher begin in the past or with a state.
func (w *watcher) prepare(r *Registry, o *watchOptions) error {
	f := r.feed.Load()
	if f == nil {
		return fmt.Errorf("%w: FromRevision and WithInitial need a dispatcher; make it before the watch", ErrBadOption)
	}
	if f.ring.fronted.Load() {
		return fmt.Errorf("%w: %s needs revisions that outlive the process, and those of a Front begin anew with it; leave it out, and read the state after the watch began", ErrBadOption, o.past())
	}
	c := &catchUp{filter: w.asFilter(), buf: make([]*Event, 0, catchUpBatch)}
	if o.resume {
		w.extra.start = max(o.from, 1) - 1
	} else {
		if r.options.Snapshot == nil {
			return fmt.Errorf("%w: WithInitial needs RegistryOptions.Snapshot, which is nil", ErrBadOption)
		}
		s, err := r.options.take(c.filter)
		if err != nil {
			return err
		}
		if s.Next == nil {
			s.end() // if that panics, too: the error is about what was there first
			return fmt.Errorf("%w: RegistryOptions.Snapshot returned a Snapshot whose Next is nil", ErrBadOption)
		}
		c.snapshot, w.extra.start = &s, s.Revision
	}
	c.cursor = f.ring.cursor(w.extra.start, w.waitable())
	if o.resume {
		if oldest := f.ring.oldestStart(); w.extra.start+1 < oldest {
			return &CompactedError{Revision: o.from, Oldest: oldest}
		}
	}
	w.extra.catchUp, w.extra.late = c, true
	return nil
}

func (w *watcher) asFilter() Filter {
	if w.flags.have(isPattern) {
		return newPatternFilter(w.filter)
	}
	return Filter{text: w.filter}
}

func (r *Registry) insert(w *watcher) {
	r.roster.add(w)
	if w.extra != nil && w.extra.wantProgress {
		r.progress.add(w)
		r.asked.Add(1)
	}
	if w.flags.have(isPattern) {
		r.patterns.add(w)
		return
	}
	r.keyed.Add(1)
	r.keys.update(w.filter, w.link)
}

// remove takes out a watcher that was inserted; its owner sees to it that it
// happens once. Its context keeps it for as long as there is something to take.
func (r *Registry) remove(w *watcher) {
	if w.flags.have(isPattern) {
		r.patterns.remove(w)
	} else {
		r.keys.update(w.filter, w.unlink)
		r.keyed.Add(-1)
	}
	r.roster.remove(w)
	if w.asked() {
		r.progress.remove(w)
		r.asked.Add(-1)
	}
	r.stats.retire(w)
	r.count.Add(-1)
}

// Len returns how many watchers are registered, or just about to be. Any goroutine
// may call it.
func (r *Registry) Len() int { return int(r.count.Load()) }

// close refuses further watchers and ends those there are. What they have
// buffered may still be taken.
func (r *Registry) close() {
	r.closeMu.Lock()
	r.closed = true
	r.closeMu.Unlock()
	for _, w := range r.roster.all() {
		w.end(ErrClosed, true)
	}
}
