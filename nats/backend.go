package nats

import (
	"context"
	"time"
)

// Backend carries out requests. Its errors should be of type [*Error]; others
// are answered as internal.
type Backend interface {
	// Write proposes a put or a delete and returns at once; changes take effect in
	// the order of the calls. Of requests with the same id, which is empty for none,
	// the first one counts.
	Write(o Operation, requestID string) Pending
	// Batch is like Write for all operations together: all are carried out, or none.
	Batch(operations []Operation, requestID string) Pending
	// Linearize returns once reads of this backend's state include everything
	// that was acknowledged before the call.
	Linearize(ctx context.Context) error
	// Get reads the state as it is.
	Get(key string) (Entry, error)
}

// Operation is a put or a delete.
type Operation struct {
	Delete     bool // else a put
	Key        string
	Value      []byte        // of a put; the backend's to keep
	IfRevision *uint64       // condition; nil for none
	TTL        time.Duration // of a put: how long the key lives; 0 for ever
}

// Entry is what is found at a key.
type Entry struct {
	Value    []byte
	Revision uint64
	TTL      time.Duration // how long it lives still, if it is known; 0 for ever
}

// Pending is a change under way. Wait blocks until it is applied or has failed
// and returns its revision.
type Pending interface {
	Wait() (revision uint64, err error)
}
