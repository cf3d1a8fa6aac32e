package nats

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// mapBackend is a backend over a plain map. Its changes take effect at once; its
// answers can be held back.
type mapBackend struct {
	mu       sync.Mutex
	revision uint64
	entries  map[string]Entry
	calls    []string // writes in the order of arrival: op and key
	requests []string // their ids
	proofs   int      // calls of Linearize

	applied chan struct{} // Wait blocks until it is closed; nil does not block
	proof   chan error    // Linearize takes its result from it; nil succeeds at once
	entered chan struct{} // gets a value as Linearize begins; nil for none
	propose chan struct{} // Put takes a value before it returns; nil does not block
	refuse  error         // of every write and read
	oldest  uint64        // that Since tells from
	listed  int           // how often List and Since were called
}

func newMapBackend() *mapBackend { return &mapBackend{entries: make(map[string]Entry)} }

type mapPending struct {
	applied  chan struct{}
	revision uint64
	err      error
}

func (p mapPending) Wait() (uint64, error) {
	if p.applied != nil {
		<-p.applied
	}
	return p.revision, p.err
}

func (b *mapBackend) Write(o Operation, requestID string) Pending {
	if b.propose != nil && !o.Delete {
		<-b.propose
	}
	return b.Batch([]Operation{o}, requestID)
}

func (b *mapBackend) Batch(operations []Operation, requestID string) Pending {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := mapPending{applied: b.applied, err: b.refuse}
	b.requests = append(b.requests, requestID)
	for _, o := range operations {
		op := "put"
		if o.Delete {
			op = "delete"
		}
		b.calls = append(b.calls, op+" "+o.Key)
		old, ok := b.entries[o.Key]
		switch {
		case p.err != nil:
		case o.IfRevision != nil && old.Revision != *o.IfRevision:
			p.err = &Error{CodeConflict, fmt.Sprintf("%s is at revision %d", o.Key, old.Revision)}
		case o.Delete && !ok:
			p.err = &Error{CodeNotFound, "there is no such key"}
		}
	}
	if p.err != nil {
		return p
	}
	b.revision++
	p.revision = b.revision
	for _, o := range operations {
		if o.Delete {
			delete(b.entries, o.Key)
		} else {
			b.entries[o.Key] = Entry{o.Value, b.revision, o.TTL}
		}
	}
	return p
}

func (b *mapBackend) Linearize(ctx context.Context) error {
	b.mu.Lock()
	b.proofs++
	b.mu.Unlock()
	if b.entered != nil {
		b.entered <- struct{}{}
	}
	if b.proof == nil {
		return nil
	}
	select {
	case err := <-b.proof:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *mapBackend) Get(key string) (Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		return Entry{}, b.refuse
	}
	e, ok := b.entries[key]
	if !ok {
		return Entry{}, &Error{CodeNotFound, "there is no such key"}
	}
	return e, nil
}

// writes returns what the backend was asked to change.
func (b *mapBackend) writes() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

// count returns how many writes and proofs the backend was asked for.
func (b *mapBackend) count() (writes, proofs int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.calls), b.proofs
}
