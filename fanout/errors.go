package fanout

import "errors"

// The outcomes a caller may want to tell apart. Errors of this package wrap
// exactly one of them; use [errors.Is].
var (
	// ErrClosed ends a watcher that was stopped, or whose dispatcher ended.
	ErrClosed = errors.New("fanout: closed")
	// ErrTooManyWatchers refuses a watcher beyond RegistryOptions.MaxWatchers.
	ErrTooManyWatchers = errors.New("fanout: too many watchers")
	// ErrBadKey refuses a key that is empty or too long.
	ErrBadKey = errors.New("fanout: bad key")
	// ErrBadPattern refuses a malformed pattern.
	ErrBadPattern = errors.New("fanout: bad pattern")
	// ErrBadOption refuses an option that is out of range, or that conflicts
	// with another; the text names it.
	ErrBadOption = errors.New("fanout: bad option")
)
