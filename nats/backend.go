package nats

import "context"

// Backend carries out requests. Its errors should be of type [*Error]; others
// are answered as internal.
type Backend interface {
	// Put proposes a change and returns at once; changes take effect in the
	// order of the calls. The condition is nil for none. The value is the
	// backend's to keep.
	Put(key string, value []byte, ifRevision *uint64) Pending
	// Delete is like Put.
	Delete(key string, ifRevision *uint64) Pending
	// Batch is like Put and Delete for all operations together: all are carried
	// out, or none.
	Batch(operations []Operation) Pending
	// Linearize returns once reads of this backend's state include everything
	// that was acknowledged before the call.
	Linearize(ctx context.Context) error
	// Get reads the state as it is.
	Get(key string) (value []byte, revision uint64, err error)
}

// Operation is a put or a delete in a batch.
type Operation struct {
	Delete     bool // else a put
	Key        string
	Value      []byte  // of a put; the backend's to keep
	IfRevision *uint64 // condition; nil for none
}

// Pending is a change under way. Wait blocks until it is applied or has failed
// and returns its revision.
type Pending interface {
	Wait() (revision uint64, err error)
}
