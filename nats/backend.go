package nats

import (
	"context"
	"time"

	"github.com/watchcast/watchcast/fanout"
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
	Lister
}

// Lister reads many keys of the state, as it is when it is called. Its errors are as
// those of a [Backend].
type Lister interface {
	// Stands returns what the state includes by now.
	Stands() (revision uint64, err error)
	// List returns the entries of all keys that filter means, as Puts.
	List(filter fanout.Filter) (Listing, error)
	// Since returns the newest change of each key that filter means and that has
	// changed above revision. The error is a [*GoneError] if that cannot be told.
	Since(filter fanout.Filter, revision uint64) (Listing, error)
}

// Listing is a list, or what has changed, while it is taken. It is dropped when it is
// not needed any more, and may hold on to a state until then.
type Listing struct {
	// Revision is where the state stands with it: nothing up to it is left out, and
	// nothing is of later.
	Revision uint64
	// Next returns the entries one by one, each key once, and then false. It is
	// called from one goroutine, some time later.
	Next func() (Change, bool)
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
