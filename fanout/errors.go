package fanout

import (
	"errors"
	"fmt"
)

// The outcomes a caller may want to tell apart, beside [CompactedError]. Errors of this
// package wrap one of them, are a *CompactedError, or are the cause of a context, or of
// RegistryOptions.Snapshot; use [errors.Is] and [errors.As].
var (
	// ErrClosed ends a watcher that was stopped, or whose dispatcher ended.
	ErrClosed = errors.New("fanout: closed")
	// ErrLagged ends a watcher with the policy Cancel that lost something.
	ErrLagged = errors.New("fanout: lagged")
	// ErrSnapshot ends a watcher whose Snapshot panicked, or refuses it if
	// RegistryOptions.Snapshot did; it wraps a [*PanicError].
	ErrSnapshot = errors.New("fanout: the state cannot be read")
	// ErrWithinSnapshot refuses Watcher.Next within a function of a [Snapshot]
	// where it would wait for a state that is being read: for itself, as a rule.
	ErrWithinSnapshot = errors.New("fanout: within a snapshot")
	// ErrTooManyWatchers refuses a watcher beyond RegistryOptions.MaxWatchers.
	ErrTooManyWatchers = errors.New("fanout: too many watchers")
	// ErrBadKey refuses a key that is empty or too long.
	ErrBadKey = errors.New("fanout: bad key")
	// ErrKeyTooLong refuses a key of more than MaxKeyBytes; it is an ErrBadKey.
	ErrKeyTooLong = fmt.Errorf("%w: too long", ErrBadKey)
	// ErrBadPattern refuses a malformed pattern.
	ErrBadPattern = errors.New("fanout: bad pattern")
	// ErrBadOption refuses an option that is out of range, or that conflicts
	// with another; the text names it.
	ErrBadOption = errors.New("fanout: bad option")
)

// OptionError refuses an option whose value is out of range. It wraps [ErrBadOption].
type OptionError struct {
	Option string // such as "RingOptions.Slots", or "WithBuffer"
	Reason string // what is wrong and what to give
}

func (e *OptionError) Error() string { return ErrBadOption.Error() + ": " + e.Option + " " + e.Reason }

// Unwrap returns [ErrBadOption].
func (e *OptionError) Unwrap() error { return ErrBadOption }

func badOption(option, format string, args ...any) error {
	return &OptionError{option, fmt.Sprintf(format, args...)}
}

// PanicError is a panic of a function that the owner gave.
type PanicError struct {
	Value any    // of the panic
	Stack []byte // where, as [debug.Stack] gives it
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// CompactedError refuses to start from a revision whose events are not all held
// any more. Read the state and watch from there, or use [WithInitial].
type CompactedError struct {
	Revision uint64 // what was asked for
	Oldest   uint64 // the lowest that can be
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("fanout: revision %d is compacted; the oldest to start from is %d", e.Revision, e.Oldest)
}
