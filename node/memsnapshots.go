package node

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// memSnapshots keeps the snapshots of a node that writes nothing to a disk, until they are
// removed. Raft's own store of that kind has one from when it is begun, so that another node
// may be sent half of it, while it is written to, and keeps one that was cancelled.
type memSnapshots struct {
	mu      sync.Mutex
	begun   int
	entries []memSnapshot // the newest one first, in the order of Raft's own store on a disk
}

type memSnapshot struct {
	meta raft.SnapshotMeta
	data []byte
}

// Create implements [raft.SnapshotStore].
func (m *memSnapshots) Create(version raft.SnapshotVersion, index, term uint64, members raft.Configuration, membersIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if version != 1 {
		return nil, fmt.Errorf("node: Raft wants a snapshot of version %d", version)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begun++
	return &memSink{store: m, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d-%d", term, index, m.begun), Index: index, Term: term,
		Configuration: members, ConfigurationIndex: membersIndex,
	}}, nil
}

// List implements [raft.SnapshotStore].
func (m *memSnapshots) List() (list []*raft.SnapshotMeta, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.entries {
		list = append(list, &s.meta)
	}
	return list, nil
}

// Open implements [raft.SnapshotStore].
func (m *memSnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.entries {
		if s.meta.ID == id {
			return &s.meta, io.NopCloser(bytes.NewReader(s.data)), nil
		}
	}
	return nil, nil, fmt.Errorf("node: there is no snapshot %s any more", id)
}

func (m *memSnapshots) remove(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = slices.DeleteFunc(m.entries, func(s memSnapshot) bool { return s.meta.ID == id })
	return nil
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

// Close has the snapshot count, unless it was ended before.
func (s *memSink) Close() error {
	m := s.store
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.ended {
		return nil
	}
	s.ended = true
	s.meta.Size = int64(s.data.Len())
	at, _ := slices.BinarySearchFunc(m.entries, s.meta, func(other memSnapshot, own raft.SnapshotMeta) int {
		return cmp.Or(-cmp.Compare(other.meta.Term, own.Term), -cmp.Compare(other.meta.Index, own.Index))
	})
	m.entries = slices.Insert(m.entries, at, memSnapshot{s.meta, s.data.Bytes()})
	return nil
}

// Cancel implements [raft.SnapshotSink].
func (s *memSink) Cancel() error {
	s.ended = true
	return nil
}
