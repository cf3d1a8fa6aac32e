package node

import (
	"errors"
	"io"
	"slices"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
)

// fragile is a store that loses what it is told to lose.
type fragile struct {
	memSnapshots
	lost   map[string]error
	opened int
}

func (f *fragile) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	f.opened++
	if err := f.lost[id]; err != nil {
		return nil, nil, err
	}
	return f.memSnapshots.Open(id)
}

func (f *fragile) List() ([]*raft.SnapshotMeta, error) {
	list, err := f.memSnapshots.List()
	return slices.DeleteFunc(list, func(m *raft.SnapshotMeta) bool { return f.lost[m.ID] != nil }), err
}

// TestKnownSnapshots: what is lost stays in its place in the list, is opened once, counted
// once, and can be removed; a limit of open files is no damage.
func TestKnownSnapshots(t *testing.T) {
	t.Parallel()
	store := &fragile{lost: make(map[string]error)}
	k, err := newKnownSnapshots(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	take := func(index, term uint64) string {
		sink, err := k.Create(raft.SnapshotVersionMax, index, term, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // Raft closes its own again
			if err := sink.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return sink.ID()
	}
	want := func(when string, ids ...string) {
		t.Helper()
		list, err := k.List()
		var have []string
		for _, m := range list {
			have = append(have, m.ID)
		}
		if err != nil || !slices.Equal(have, ids) {
			t.Errorf("%s: the list is %v, %v; want %v", when, have, err, ids)
		}
	}
	old, lost := take(10, 1), take(20, 2)
	late := take(30, 1)
	want("in Raft's order", lost, late, old)
	store.lost[lost] = syscall.EMFILE
	if _, _, err := k.Open(lost); !errors.Is(err, syscall.EMFILE) || errors.Is(err, errDamaged) {
		t.Errorf("without a file left: %v", err)
	}
	store.lost[lost] = errors.New("rotten")
	for range 3 {
		if _, _, err := k.Open(lost); !errors.Is(err, errDamaged) || !errors.Is(err, store.lost[lost]) {
			t.Errorf("error is %v; want that it is damaged, and why", err)
		}
	}
	if store.opened != 2 || k.damaged() != 1 || len(k.found) != 1 {
		t.Errorf("opened %d times, %d counted, told of %d; want 2, 1, 1", store.opened, k.damaged(), len(k.found))
	}
	want("when one is lost", lost, late, old)
	again := take(20, 2)
	want("with another one of the same end", again, lost, late, old)
	if _, in, err := k.Open(again); err != nil {
		t.Error(err)
	} else {
		in.Close()
	}
	if err := k.remove(lost); err != nil {
		t.Error(err)
	}
	want("when it is removed", again, late, old)
	if _, _, err := k.Open(lost); err == nil || errors.Is(err, errDamaged) || k.damaged() != 1 {
		t.Errorf("what was removed: %v, %d counted", err, k.damaged())
	}
}
