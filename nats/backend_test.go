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
	entries  map[string]mapEntry
	calls    []string // writes in the order of arrival: op and key
	proofs   int      // calls of Linearize

	applied chan struct{} // Wait blocks until it is closed; nil does not block
	proof   chan error    // Linearize takes its result from it; nil succeeds at once
	entered chan struct{} // gets a value as Linearize begins; nil for none
	propose chan struct{} // Put takes a value before it returns; nil does not block
	refuse  error         // of every write and read
}

type mapEntry struct {
	value    []byte
	revision uint64
}

func newMapBackend() *mapBackend { return &mapBackend{entries: make(map[string]mapEntry)} }

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

func (b *mapBackend) Put(key string, value []byte, ifRevision *uint64) Pending {
	if b.propose != nil {
		<-b.propose
	}
	return b.write("put", key, ifRevision, func(revision uint64) {
		b.entries[key] = mapEntry{value, revision}
	})
}

func (b *mapBackend) Delete(key string, ifRevision *uint64) Pending {
	return b.write("delete", key, ifRevision, func(uint64) { delete(b.entries, key) })
}

func (b *mapBackend) Batch(operations []Operation) Pending {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := mapPending{applied: b.applied, err: b.refuse}
	for _, o := range operations {
		op := "put"
		if o.Delete {
			op = "delete"
		}
		b.calls = append(b.calls, op+" "+o.Key)
		if o.IfRevision != nil && b.entries[o.Key].revision != *o.IfRevision {
			p.err = &Error{CodeConflict, o.Key + " is at another revision"}
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
			b.entries[o.Key] = mapEntry{o.Value, b.revision}
		}
	}
	return p
}

func (b *mapBackend) write(op, key string, ifRevision *uint64, change func(revision uint64)) Pending {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, op+" "+key)
	p := mapPending{applied: b.applied, err: b.refuse}
	old, ok := b.entries[key]
	switch {
	case p.err != nil:
	case ifRevision != nil && old.revision != *ifRevision:
		p.err = &Error{CodeConflict, fmt.Sprintf("the key is at revision %d", old.revision)}
	case op == "delete" && !ok:
		p.err = &Error{CodeNotFound, "there is no such key"}
	default:
		b.revision++
		p.revision = b.revision
		change(b.revision)
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

func (b *mapBackend) Get(key string) ([]byte, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		return nil, 0, b.refuse
	}
	e, ok := b.entries[key]
	if !ok {
		return nil, 0, &Error{CodeNotFound, "there is no such key"}
	}
	return e.value, e.revision, nil
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
