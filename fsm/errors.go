package fsm

import (
	"errors"
	"fmt"
)

// The outcomes a caller may want to tell apart. Errors of this package wrap
// exactly one of them, or [fanout.ErrBadKey], or [fanout.ErrBadOption]; use
// [errors.Is].
var (
	// ErrNotFound says that the key does not exist. Text behind it names the key
	// where it is one of several.
	ErrNotFound = errors.New("fsm: not found")
	// ErrConflict says that the key is not at the revision that the command
	// was made for. The error is a [*ConflictError].
	ErrConflict = errors.New("fsm: conflict")
	// ErrValueTooLarge refuses a value beyond Cluster.MaxValueBytes.
	ErrValueTooLarge = errors.New("fsm: value too large")
	// ErrBadBatch refuses a batch of no or too many operations, or with a key
	// that occurs twice.
	ErrBadBatch = errors.New("fsm: bad batch")
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
