package node

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
)

// knownSnapshots are snapshots on a disk that may damage them. What it has is listed until it
// is removed, whatever became of its files: Raft sends the first one of the list to a node that needs
// one, and where the newest is left out, the one before would be sent again and again, because the
// log does not follow on it. One that cannot be opened is tried once, and told of: Raft would go
// on to read it every few milliseconds.
type knownSnapshots struct {
	removableSnapshots
	found chan struct{} // one slot; full when one was found to be damaged

	mu    sync.Mutex
	list  []*raft.SnapshotMeta // the newest one first
	bad   map[string]error     // what is wrong with it, by id
	count uint64               // how many were found
}

// errDamaged says that a snapshot cannot be read any more.
var errDamaged = errors.New("snapshot is damaged")

// newKnownSnapshots takes over what is there. Of names there are more than the store lists,
// or lists by them, where metadata are damaged: these have no version here, and are never opened.
func newKnownSnapshots(store removableSnapshots, names []string) (*knownSnapshots, error) {
	list, err := store.List()
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(m *raft.SnapshotMeta) bool { return !isOf(m.ID, m) })
	k := &knownSnapshots{removableSnapshots: store, found: make(chan struct{}, 1), list: list, bad: make(map[string]error)}
	for _, name := range names {
		var ms int64
		m := &raft.SnapshotMeta{ID: name}
		if _, err := fmt.Sscanf(name, "%d-%d-%d", &m.Term, &m.Index, &ms); err == nil && name == fmt.Sprintf("%d-%d-%d", m.Term, m.Index, ms) {
			k.add(m)
		}
	}
	return k, nil
}

// isOf reports whether a name says of the end of a snapshot what its metadata do.
func isOf(name string, m *raft.SnapshotMeta) bool {
	return strings.HasPrefix(name, fmt.Sprintf("%d-%d-", m.Term, m.Index))
}

// List implements [raft.SnapshotStore].
func (k *knownSnapshots) List() ([]*raft.SnapshotMeta, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.list), nil
}

// add lists one, unless it is there. Of two with one end, which have one state, the one that
// was begun later is the newer.
func (k *knownSnapshots) add(m *raft.SnapshotMeta) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at(m.ID) >= 0 {
		return
	}
	at, _ := slices.BinarySearchFunc(k.list, m, func(other, m *raft.SnapshotMeta) int {
		return cmp.Or(cmp.Compare(m.Term, other.Term), cmp.Compare(m.Index, other.Index), cmp.Compare(len(m.ID), len(other.ID)), cmp.Compare(m.ID, other.ID))
	})
	k.list = slices.Insert(k.list, at, m)
}

// at returns where one is in the list, -1 if it is not. The caller holds the lock.
func (k *knownSnapshots) at(id string) int {
	return slices.IndexFunc(k.list, func(m *raft.SnapshotMeta) bool { return m.ID == id })
}

// Open implements [raft.SnapshotStore]. The error wraps [errDamaged], unless that is of a
// limit, or of one that was just removed.
func (k *knownSnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if err := k.damage(id); err != nil {
		return nil, nil, err
	}
	meta, in, err := k.open(id)
	if err != nil && !noFileLeft(err) {
		err = k.note(id, err)
	}
	return meta, in, err
}

// open opens one whose metadata, which have no checksum, are by its name and what they were.
func (k *knownSnapshots) open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	k.mu.Lock()
	var was raft.SnapshotMeta
	if at := k.at(id); at >= 0 {
		was = *k.list[at]
	}
	k.mu.Unlock()
	if was.ID == id && was.Version == 0 {
		return nil, nil, errors.New("its metadata cannot be read")
	}
	m, in, err := k.removableSnapshots.Open(id)
	if err != nil || was.ID != id {
		return m, in, err
	}
	if m.ID != id || !isOf(id, m) ||
		m.ConfigurationIndex != was.ConfigurationIndex || !slices.Equal(m.Configuration.Servers, was.Configuration.Servers) {
		in.Close() // it was only read
		return nil, nil, errors.New("its metadata have changed")
	}
	return m, in, nil
}

// note takes down what is wrong with one, unless it was removed, and returns that.
func (k *knownSnapshots) note(id string, err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at(id) < 0 {
		return err
	}
	if k.bad[id] == nil {
		k.bad[id] = fmt.Errorf("%w: %s: %w", errDamaged, id, err)
		k.count++
		select {
		case k.found <- struct{}{}:
		default:
		}
	}
	return k.bad[id]
}

// damage returns what is wrong with one, nil if that is not known.
func (k *knownSnapshots) damage(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.bad[id]
}

// damaged returns how many were found to be.
func (k *knownSnapshots) damaged() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count
}

// remove also removes what is not there any more. What is being removed is not damaged for being gone.
func (k *knownSnapshots) remove(id string) error {
	k.mu.Lock()
	before := k.list
	k.list = slices.DeleteFunc(slices.Clone(before), func(m *raft.SnapshotMeta) bool { return m.ID == id })
	k.mu.Unlock()
	err := k.removableSnapshots.remove(id)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.bad, id)
		return nil
	}
	for _, m := range before {
		if m.ID == id {
			k.add(m)
		}
	}
	return err
}

// Create implements [raft.SnapshotStore].
func (k *knownSnapshots) Create(version raft.SnapshotVersion, index, term uint64, members raft.Configuration, membersIndex uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := k.removableSnapshots.Create(version, index, term, members, membersIndex, t)
	if err != nil {
		return nil, err
	}
	return &knownSink{SnapshotSink: sink, store: k, meta: raft.SnapshotMeta{
		Version: version, ID: sink.ID(), Index: index, Term: term, Configuration: members, ConfigurationIndex: membersIndex,
	}}, nil
}

// knownSink takes one snapshot.
type knownSink struct {
	raft.SnapshotSink
	store *knownSnapshots
	meta  raft.SnapshotMeta
}

func (s *knownSink) Write(b []byte) (int, error) {
	n, err := s.SnapshotSink.Write(b)
	s.meta.Size += int64(n)
	return n, err
}

// Close implements [io.Closer]. What fails may come behind that the snapshot is whole.
func (s *knownSink) Close() error {
	err := s.SnapshotSink.Close()
	if err != nil {
		list, more := s.store.removableSnapshots.List()
		if more != nil || !slices.ContainsFunc(list, func(m *raft.SnapshotMeta) bool { return m.ID == s.meta.ID }) {
			return err
		}
	}
	s.store.add(&s.meta)
	return err
}
