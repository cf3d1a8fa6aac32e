package fsm

import (
	"errors"
	"fmt"
)

// The outcomes a caller may want to tell apart. Errors of this package wrap
// exactly one of them, or [fanout.ErrBadKey], or [fanout.ErrBadOption]; use
// [errors.Is].
var (
	// ErrNotFound says that the key does not exist. The error is a
	// [*NotFoundError].
	ErrNotFound = errors.New("fsm: not found")
	// ErrConflict says that the key is not at the revision that the command
	// was made for. The error is a [*ConflictError].
	ErrConflict = errors.New("fsm: conflict")
	// ErrValueTooLarge refuses a value beyond Cluster.MaxValueBytes.
	ErrValueTooLarge = errors.New("fsm: value too large")
	// ErrBadBatch refuses a batch of no or too many operations, with a key that
	// occurs twice, or with what belongs to one operation only, or to all of them.
	ErrBadBatch = errors.New("fsm: bad batch")
	// ErrBadTTL refuses a time to live below 0 or beyond MaxTTL.
	ErrBadTTL = errors.New("fsm: bad time to live")
	// ErrBadRequestID refuses a request id that is longer than MaxRequestIDBytes.
	ErrBadRequestID = errors.New("fsm: bad request id")
	// ErrRequestReused refuses a request id that was given to another command
	// before.
	ErrRequestReused = errors.New("fsm: request id was used for another request")
	// ErrStaleStamp refuses a command that was stamped in another term than it
	// came into the log: its leader's clock does not count any more. It is to be
	// proposed again.
	ErrStaleStamp = errors.New("fsm: stamp of another term")
	// ErrBadCommand refuses bytes that are no command of a version, operation
	// or field that this program knows.
	ErrBadCommand = errors.New("fsm: bad command")
	// ErrCorruptSnapshot refuses a snapshot that is damaged, cut short, or of
	// a format that this program does not know.
	ErrCorruptSnapshot = errors.New("fsm: corrupt snapshot")
	// ErrNotInitialized refuses a change that comes before the cluster's
	// Init command.
	ErrNotInitialized = errors.New("fsm: cluster is not initialized")
)

// ConflictError is the [ErrConflict] of one key.
type ConflictError struct {
	Key string
	// Revision is where the key stands now; 0 if it does not exist.
	Revision uint64
}

func (e *ConflictError) Error() string {
	if e.Revision == 0 {
		return fmt.Sprintf("%v: key %q does not exist", ErrConflict, e.Key)
	}
	return fmt.Sprintf("%v: key %q is at revision %d", ErrConflict, e.Key, e.Revision)
}

// Unwrap returns [ErrConflict].
func (e *ConflictError) Unwrap() error { return ErrConflict }

// NotFoundError is the [ErrNotFound] of one key.
type NotFoundError struct{ Key string }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("%v: there is no key %q", ErrNotFound, e.Key)
}

// Unwrap returns [ErrNotFound].
func (e *NotFoundError) Unwrap() error { return ErrNotFound }
