package fsm

import (
	"io"

	"github.com/hashicorp/raft"
)

// wrapped is a state machine with a watch: inner does the work, and what it did
// is announced when it is done. Only Raft's apply goroutine calls it.
type wrapped struct {
	inner     raft.FSM
	announcer *announcer
}

// wrap returns a machine that has the optional methods that inner has, and no
// others: Raft finds them by type assertion.
func wrap(inner raft.FSM, a *announcer) raft.FSM {
	w := &wrapped{inner, a}
	b, batches := inner.(raft.BatchingFSM)
	s, stores := inner.(raft.ConfigurationStore)
	switch {
	case batches && stores:
		return struct {
			*wrapped
			batcher
			configurationStore
		}{w, batcher{b, a}, configurationStore{s, a}}
	case batches:
		return struct {
			*wrapped
			batcher
		}{w, batcher{b, a}}
	case stores:
		return struct {
			*wrapped
			configurationStore
		}{w, configurationStore{s, a}}
	}
	return w
}

func (w *wrapped) Apply(l *raft.Log) any {
	result := w.inner.Apply(l)
	w.announcer.batch([]*raft.Log{l}, []any{result})
	return result
}

func (w *wrapped) Snapshot() (raft.FSMSnapshot, error) { return w.inner.Snapshot() }

func (w *wrapped) Restore(r io.ReadCloser) error {
	err := w.inner.Restore(r)
	w.announcer.restored(err)
	return err
}

// batcher is the part of a [raft.BatchingFSM].
type batcher struct {
	batching  raft.BatchingFSM
	announcer *announcer
}

func (b batcher) ApplyBatch(logs []*raft.Log) []any {
	results := b.batching.ApplyBatch(logs)
	if len(results) != len(logs) {
		return results // Raft panics
	}
	b.announcer.batch(logs, results)
	return results
}

// configurationStore is the part of a [raft.ConfigurationStore].
type configurationStore struct {
	store     raft.ConfigurationStore
	announcer *announcer
}

func (s configurationStore) StoreConfiguration(index uint64, c raft.Configuration) {
	s.store.StoreConfiguration(index, c)
	s.announcer.batch([]*raft.Log{{Index: index, Type: raft.LogConfiguration}}, []any{nil})
}
