package node

import (
	"log/slog"
	"sync"
	"time"
)

// fresh is what files hold that may be replaced while the node runs: it is read again
// when it is asked for, at most once a second. Where that fails what was read before
// stays in use, and the log says so.
type fresh[T any] struct {
	what    string // for the log
	read    func() (T, error)
	log     *slog.Logger
	repeats *repeats

	mu   sync.Mutex
	last T         // that could be read
	at   time.Time // when that was tried
}

const rereadPeriod = time.Second // who asks often costs no more reading than this

// newFresh takes what was read just now.
func newFresh[T any](what string, first T, read func() (T, error), log *slog.Logger) *fresh[T] {
	return &fresh[T]{what: what, read: read, log: log, repeats: newRepeats(), last: first, at: time.Now()}
}

func (f *fresh[T]) get() T {
	f.mu.Lock()
	if time.Since(f.at) < rereadPeriod {
		defer f.mu.Unlock()
		return f.last
	}
	f.at = time.Now()
	f.mu.Unlock() // the others go on with the last one meanwhile

	next, err := f.read()
	f.mu.Lock()
	if err == nil {
		f.last = next
	}
	last := f.last
	f.mu.Unlock()
	if err != nil {
		f.repeats.log(f.log, slog.LevelError, "reload", "cannot use the new "+f.what+"; what was read before stays in use", "error", err)
	}
	return last
}
