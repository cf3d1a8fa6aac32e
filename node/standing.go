package node

import (
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// standing is the store of snapshots of a node that may be set back: it has restored a backup
// alone, and the next leader, who has not heard of that, goes on from a snapshot below. By
// Raft's order the backup would stay the newer one: the node would begin with it again, and
// drop what it has acknowledged since.
//
// So what lies above a snapshot that was received and restored is void, and not listed any
// more. It stays where it is until the log makes up for it: with an entry of a later term, or
// as far as it reached. For up to then the node lacks entries that it had stored for a
// majority. Started again it would begin with what is void, whose end allows no vote for a
// log without these; and while it runs it takes no part in an election, see [abstaining].
type standing struct {
	removableSnapshots
	keep  int                                      // of those that are listed
	write func(what string, do func() error) error // what must be on the disk, or the node stops

	mu       sync.Mutex
	received *raft.SnapshotMeta // the last one that is complete and not of this node's own making, until it is restored
	on       raft.SnapshotMeta  // what the others are void for
	void     []*raft.SnapshotMeta
}

type removableSnapshots interface {
	raft.SnapshotStore
	remove(id string) error // for good when it returns
}

func newStanding(snapshots removableSnapshots, keep int, write func(string, func() error) error) *standing {
	return &standing{removableSnapshots: snapshots, keep: keep, write: write}
}

// List implements [raft.SnapshotStore].
func (s *standing) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed()
}

// listed is List; the caller holds the lock.
func (s *standing) listed() ([]*raft.SnapshotMeta, error) {
	all, err := s.removableSnapshots.List()
	return slices.DeleteFunc(all, func(m *raft.SnapshotMeta) bool {
		return slices.ContainsFunc(s.void, func(v *raft.SnapshotMeta) bool { return v.ID == m.ID })
	}), err
}

// Create implements [raft.SnapshotStore].
func (s *standing) Create(version raft.SnapshotVersion, index, term uint64, members raft.Configuration, membersIndex uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.removableSnapshots.Create(version, index, term, members, membersIndex, t)
	if err != nil {
		return nil, err
	}
	return &standingSink{SnapshotSink: sink, store: s, meta: raft.SnapshotMeta{ID: sink.ID(), Index: index, Term: term}}, nil
}

// restoring returns what to call once the state of the snapshot that was received last is the
// node's. At a start there is none.
func (s *standing) restoring() (restored func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.received == nil {
		return func() {}, nil
	}
	all, err := s.removableSnapshots.List()
	if err != nil {
		return nil, err
	}
	on := *s.received
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.received, s.on = nil, on
		s.void = slices.DeleteFunc(all, func(m *raft.SnapshotMeta) bool { return m.Index <= on.Index && m.Term <= on.Term })
		_ = s.reap() // or the next time
	}, nil
}

// reap removes the oldest ones that are listed. The caller holds the lock.
func (s *standing) reap() error {
	list, err := s.listed()
	if err != nil {
		return err
	}
	for _, m := range list[min(s.keep, len(list)):] {
		if s.received != nil && s.received.ID == m.ID {
			continue
		}
		if err := s.remove(m.ID); err != nil {
			return err
		}
	}
	return nil
}

// makesUp reports whether a log that ends so, and a later leader's, has all that was committed
// and lies below the end of a snapshot that is void.
func makesUp(index, term uint64, void *raft.SnapshotMeta) bool {
	return term > void.Term || index >= void.Index
}

// owes reports whether this node may lack what it has stored for a majority.
func (s *standing) owes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.void, func(v *raft.SnapshotMeta) bool { return !makesUp(s.on.Index, s.on.Term, v) })
}

// reached returns how far what is void reached.
func (s *standing) reached() (index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.void {
		index = max(index, v.Index)
	}
	return index
}

// base returns where the snapshot ends that the others are void for.
func (s *standing) base() (index, term uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on.Index, s.on.Term
}

// store stores entries in Raft's own loop, and removes what is void when they make up for it:
// before they are acknowledged, and only when they are there. What the snapshot itself makes up
// for goes first, so that a start finds no log behind another one than that.
func (s *standing) store(logs []*raft.Log, store func() error) error {
	if err := s.removeVoid(s.base()); err != nil {
		return err
	}
	if err := store(); err != nil {
		return err
	}
	last := logs[len(logs)-1]
	return s.removeVoid(last.Index, last.Term)
}

// removeVoid removes what a log that ends so makes up for.
func (s *standing) removeVoid(index, term uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.void) > 0 {
		i := slices.IndexFunc(s.void, func(v *raft.SnapshotMeta) bool { return makesUp(index, term, v) })
		if i < 0 {
			break
		}
		if err := s.write("remove a snapshot that is void", func() error { return s.remove(s.void[i].ID) }); err != nil {
			return err
		}
		s.void = slices.Delete(s.void, i, i+1)
	}
	return nil
}

// standingSink takes one snapshot.
type standingSink struct {
	raft.SnapshotSink
	store *standing
	meta  raft.SnapshotMeta
	own   bool // of this node's own making, so it moves nothing
}

// Close implements [io.Closer].
func (s *standingSink) Close() error {
	if err := s.SnapshotSink.Close(); err != nil {
		return err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if !s.own {
		s.store.received = &s.meta
		return nil
	}
	return s.store.reap()
}
