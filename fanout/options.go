package fanout

import (
	"fmt"
	"log/slog"
	"time"
)

// Defaults and bounds of watches and their registry.
const (
	DefaultBuffer      = 10
	MaxBuffer          = 1 << 20
	DefaultMaxWatchers = 1 << 20
)

// RegistryOptions configures a [Registry]. The zero value means the defaults.
type RegistryOptions struct {
	// MaxWatchers bounds the watchers held at a time. Default 1,048,576.
	MaxWatchers int
	// Buffer is the default buffer of a watcher, in events. Default 10.
	Buffer int
	// Snapshot returns the present state of the keys of filter, for watchers
	// made with [WithInitial], in the goroutine that makes the watcher. Changes
	// above its revision must be in the ring, or still to come. Its error is that
	// of the watch; if it panics that is [ErrSnapshot]. Default: none, and
	// WithInitial is refused.
	Snapshot func(filter Filter) (Snapshot, error)
}

func (o *RegistryOptions) check() error {
	switch {
	case o.MaxWatchers == 0:
		o.MaxWatchers = DefaultMaxWatchers
	case o.MaxWatchers < 0:
		return badOption("RegistryOptions.MaxWatchers", "is %d; give a positive number, or 0 for %d", o.MaxWatchers, DefaultMaxWatchers)
	}
	if o.Buffer == 0 {
		o.Buffer = DefaultBuffer
	}
	return checkBuffer("RegistryOptions.Buffer", o.Buffer)
}

func checkBuffer(name string, n int) error {
	if n < 1 || n > MaxBuffer {
		return badOption(name, "is %d; give 1 to %d events", n, MaxBuffer)
	}
	return nil
}

// WatchOption configures one watcher.
type WatchOption func(*watchOptions) error

type watchOptions struct {
	buffer int // 0: the registry's
	policy Policy
	ops    opSet

	initial, resume bool
	from            uint64 // with resume
	progress        bool
}

// check refuses options that conflict, and sets what was not given.
func (o *watchOptions) check(buffer int) error {
	if o.policy == Conflate && o.buffer != 0 {
		return fmt.Errorf("%w: WithBuffer conflicts with WithPolicy(Conflate), which holds one change a key; leave one out", ErrBadOption)
	}
	if o.initial && o.resume {
		return fmt.Errorf("%w: FromRevision conflicts with WithInitial, which begins with the present state; leave one out", ErrBadOption)
	}
	if o.buffer == 0 {
		o.buffer = buffer
	}
	return nil
}

// past names the option that begins in the past or with a state.
func (o *watchOptions) past() string {
	if o.initial {
		return "WithInitial"
	}
	return "FromRevision"
}

// WithBuffer sets how many changes the watcher holds for its consumer, 1 to
// [MaxBuffer]; the default is the registry's, 10. The slots are allocated when
// events wait in them. A batch with more matching changes than that does not fit, and
// is reported as [Lagged], or ends the watcher with [Cancel]; only one that is read of
// the history ([FromRevision]) needs no room. It conflicts with [Conflate].
func WithBuffer(events int) WatchOption {
	return func(o *watchOptions) error {
		o.buffer = events
		return checkBuffer("WithBuffer", events)
	}
}

// WithPolicy sets what the watcher loses when its buffer is full; the default is
// [DropNewest].
func WithPolicy(p Policy) WatchOption {
	return func(o *watchOptions) error {
		if p > Cancel {
			return fmt.Errorf("%w: WithPolicy is %v; give DropNewest, DropOldest, Conflate or Cancel", ErrBadOption, p)
		}
		o.policy = p
		return nil
	}
}

// FromRevision starts the watch with the changes at revision, if there are any,
// and above: give the last one that was seen plus one, or that one itself to be
// sure. They are read of the ring's history in the consumer's goroutine, with no
// loss and no repeat where the present begins. If not all are held any more, the
// watch is refused with a [*CompactedError]. A consumer that is slow to catch up
// may still be overtaken, and gets a [Lagged] event then. It conflicts with
// [WithInitial], and behind a [Front] it is refused.
func FromRevision(revision uint64) WatchOption {
	return func(o *watchOptions) error {
		o.resume, o.from = true, revision
		return nil
	}
}

// WithInitial starts the watch with the present state: first a [Put] for each
// key that exists, in the order of the snapshot and with the revision that made
// it; then [Progress] with the revision at which the state stands, also if there
// is no key; then the changes above. It needs RegistryOptions.Snapshot and
// conflicts with [FromRevision]; behind a [Front] it is refused.
func WithInitial() WatchOption {
	return func(o *watchOptions) error {
		o.initial = true
		return nil
	}
}

// WithOps leaves out the changes of other operations than these: [Put],
// [Delete], [Expire]. Control events always come. A watcher with it cannot tell
// a loss from PrevRevision.
func WithOps(ops ...Op) WatchOption {
	return func(o *watchOptions) error {
		if len(ops) == 0 {
			return fmt.Errorf("%w: WithOps is empty; give one or more of Put, Delete, Expire", ErrBadOption)
		}
		o.ops = 0
		for _, op := range ops {
			if op < Put || op > Expire {
				return fmt.Errorf("%w: WithOps has %v; give one or more of Put, Delete, Expire", ErrBadOption, op)
			}
			o.ops |= 1 << op
		}
		return nil
	}
}

// WithProgress adds [Progress] events: everything up to their revision that was
// for the watcher has been received, or was told to be lost, before. They come
// every DispatcherOptions.ProgressInterval, whether or not there were changes,
// once nothing else waits. So a consumer knows how current it is, and that the
// watch lives, and may resume above that revision.
func WithProgress() WatchOption {
	return func(o *watchOptions) error {
		o.progress = true
		return nil
	}
}

// Defaults and bounds of [DispatcherOptions].
const (
	DefaultSpin             = 20 * time.Microsecond
	MaxSpin                 = time.Second
	DefaultProgressInterval = time.Second
	MinProgressInterval     = time.Millisecond
)

// DispatcherOptions configures a [Dispatcher]. The zero value means the
// defaults.
type DispatcherOptions struct {
	// After is the revision up to which events are history, those included that
	// are still to be replayed: they stay in the ring for those who ask for
	// them, but they are not delivered, and watchers start above it, but for those
	// that were made before the dispatcher, which stand at 0. Default 0, which it must
	// be behind a [Front].
	After uint64
	// Spin is how long the dispatcher looks for more events before it parks.
	// Waking a parked goroutine costs the writer microseconds, so this buys
	// write latency with processor time. Default 20 µs; negative for none. At
	// GOMAXPROCS 1 it never spins.
	Spin time.Duration
	// ProgressInterval is how often watchers made with [WithProgress] are told.
	// Default 1 s, at least 1 ms.
	ProgressInterval time.Duration
	// Observe is called after each read of the ring that was delivered, in the
	// dispatcher's goroutine: it must not block, and its time is taken from
	// delivery. If it panics, so does [Dispatcher.Run], once it has ended the
	// watchers. Default: none, and then nothing is measured.
	Observe func(Delivery)
	// Logger gets one line a minute at most for what is lost, in the dispatcher's
	// goroutine: at once, or when a minute has passed since the last line, or when
	// the dispatcher ends. Default: nothing.
	Logger *slog.Logger
}

func (o *DispatcherOptions) check() error {
	switch {
	case o.Spin == 0:
		o.Spin = DefaultSpin
	case o.Spin > MaxSpin:
		return badOption("DispatcherOptions.Spin", "is %v; give at most %v", o.Spin, MaxSpin)
	}
	switch {
	case o.ProgressInterval == 0:
		o.ProgressInterval = DefaultProgressInterval
	case o.ProgressInterval < MinProgressInterval:
		return badOption("DispatcherOptions.ProgressInterval", "is %v; give %v or more, or 0 for %v", o.ProgressInterval, MinProgressInterval, DefaultProgressInterval)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
