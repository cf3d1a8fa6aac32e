package fanout

import (
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
)

// Snapshot is a state at one revision, for watchers that begin with it.
//
// Its functions may call any method of the watcher and of the registry. But nothing
// is received there of the state itself: Next fails with [ErrWithinSnapshot], a loop
// over Events ends while Err is still nil, and a receive from Chan would wait for
// itself. If one of the functions panics, what is left of the state is anyone's guess:
// the watcher ends with [ErrSnapshot], and whoever called it is not disturbed.
type Snapshot struct {
	// Revision is where the state stands: it has every change up to it, and
	// none above.
	Revision uint64
	// Next returns the entries one by one, each as the [Put] that made it, then
	// nil. It is called when the consumer receives, in its goroutine (with
	// [Watcher.Chan], in that one's), one call at a time, and not after Close. It
	// delays nobody but consumers of this watcher.
	Next func() *Event
	// Close releases the state; nil if there is nothing to release. It is
	// called once, also if not all entries were taken: by the consumer that has
	// taken the last, or by whoever ends the watch. But if Next is at work just
	// then nobody waits for it: Close is called when it has returned.
	Close func()
}

// read returns the next entry; nil if there is none.
func (s *Snapshot) read() (e *Event, err error) {
	err = guardState("Snapshot.Next", func() { e = s.Next() })
	return e, err
}

// end releases the state.
func (s *Snapshot) end() error {
	if s.Close == nil {
		return nil
	}
	return guardState("Snapshot.Close", s.Close)
}

// take asks the owner for the state of the keys of f.
func (o *RegistryOptions) take(f Filter) (s Snapshot, err error) {
	panicked := guard("RegistryOptions.Snapshot", func() { s, err = o.Snapshot(f) })
	if panicked != nil {
		return Snapshot{}, panicked
	}
	return s, err
}

// errGone ends a watcher if a function of the owner's ends the goroutine that called
// it ([runtime.Goexit], or a test's FailNow).
var errGone = fmt.Errorf("%w: one of its functions has ended the goroutine that was to receive", ErrSnapshot)

// guard calls a function of the owner's. Its panic must not become that of whoever
// happens to call: the goroutine of Chan, of a context's end, or the collector's.
func guard(name string, call func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s: %w", ErrSnapshot, name, &PanicError{Value: p, Stack: debug.Stack()})
		}
	}()
	call()
	return nil
}

// guardState is guard for a function of a Snapshot, by which withinSnapshot knows that
// it is in one.
func guardState(name string, call func()) error { return guard(name, call) }

// withinSnapshot reports whether its caller was called by a function of a Snapshot,
// in the same goroutine. It looks through the whole stack, so it is for those who
// are about to wait.
func withinSnapshot() bool {
	callers := make([]uintptr, 64)
	n := runtime.Callers(1, callers)
	for n == len(callers) {
		callers = make([]uintptr, 2*len(callers))
		n = runtime.Callers(1, callers)
	}
	guarded := runtime.FuncForPC(reflect.ValueOf(guardState).Pointer()).Name()
	frames := runtime.CallersFrames(callers[:n])
	for {
		frame, more := frames.Next()
		if frame.Function == guarded {
			return true
		}
		if !more {
			return false
		}
	}
}
