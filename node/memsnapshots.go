package node

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// memSnapshots keeps the newest snapshot of a node that writes nothing to a disk. Raft's own
// store of that kind has one from when it is begun, so that another node may be sent half of
// it, while it is written to, and keeps one that was cancelled.
type memSnapshots struct {
	mu   sync.Mutex
	meta *raft.SnapshotMeta // nil for none
	data []byte
}

// Create implements [raft.SnapshotStore].
func (m *memSnapshots) Create(version raft.SnapshotVersion, index, term uint64, members raft.Configuration, membersIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if version != 1 {
		return nil, fmt.Errorf("node: Raft wants a snapshot of version %d", version)
	}
	return &memSink{store: m, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Configuration: members, ConfigurationIndex: membersIndex,
	}}, nil
}

// List implements [raft.SnapshotStore].
func (m *memSnapshots) List() ([]*raft.SnapshotMeta, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meta == nil {
		return nil, nil
	}
	meta := *m.meta
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open implements [raft.SnapshotStore].
func (m *memSnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meta == nil || m.meta.ID != id {
		return nil, nil, fmt.Errorf("node: there is no snapshot %s any more", id)
	}
	meta := *m.meta
	return &meta, io.NopCloser(bytes.NewReader(m.data)), nil
}

// memSink takes one snapshot.
type memSink struct {
	store *memSnapshots
	meta  raft.SnapshotMeta
	data  bytes.Buffer
	ended bool
}

func (s *memSink) ID() string { return s.meta.ID }

func (s *memSink) Write(b []byte) (int, error) { return s.data.Write(b) }

// Close has the snapshot count, unless it was ended before, or a newer one is there: of a later
// term, as Raft's own store on a disk has it, or further in the same one. What a leader alone
// had restored may stand far above what the next one has.
func (s *memSink) Close() error {
	m := s.store
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.ended {
		return nil
	}
	s.ended = true
	if m.meta != nil && cmp.Or(cmp.Compare(m.meta.Term, s.meta.Term), cmp.Compare(m.meta.Index, s.meta.Index)) > 0 {
		return nil
	}
	s.meta.Size = int64(s.data.Len())
	m.meta, m.data = &s.meta, s.data.Bytes()
	return nil
}

// Cancel implements [raft.SnapshotSink].
func (s *memSink) Cancel() error {
	s.ended = true
	return nil
}
