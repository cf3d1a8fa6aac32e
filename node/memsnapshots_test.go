package node

import (
	"io"
	"testing"

	"github.com/hashicorp/raft"
)

// TestMemSnapshots: of those that the node takes itself only what is whole is shown, the newest
// of it, and as it was.
func TestMemSnapshots(t *testing.T) {
	t.Parallel()
	store := newStanding(&memSnapshots{}, 1, func(_ string, do func() error) error { return do() })
	term := uint64(2)
	create := func(index uint64, data string) raft.SnapshotSink {
		t.Helper()
		sink, err := store.Create(1, index, term, raft.Configuration{Servers: []raft.Server{{ID: "n1"}}}, 3, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sink.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
		sink.(*standingSink).own = true
		return sink
	}
	want := func(index uint64, data string) {
		t.Helper()
		list, err := store.List()
		if err != nil || len(list) > 1 || (len(list) == 1) != (index > 0) {
			t.Fatalf("list is %v, %v", list, err)
		}
		if index == 0 {
			return
		}
		meta, in, err := store.Open(list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in)
		if err != nil || string(got) != data || meta.Index != index || meta.Term != term || meta.ConfigurationIndex != 3 || len(meta.Configuration.Servers) != 1 || meta.Size != int64(len(data)) {
			t.Fatalf("%+v holds %q, %v; want %q of index %d", meta, got, err, data, index)
		}
	}
	end := func(end func() error) {
		t.Helper()
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	want(0, "")
	first, second, third := create(10, "first"), create(20, "second"), create(30, "third")
	want(0, "")
	end(second.Close)
	want(20, "second")
	end(first.Close) // a newer one is there
	want(20, "second")
	end(third.Cancel)
	end(third.Close) // as Raft does at times
	want(20, "second")
	end(second.Cancel) // too late
	again := create(20, "another")
	end(again.Close)
	end(again.Close)
	want(20, "another")
	term = 1
	end(create(30, "of a leader before").Close)
	term = 2
	want(20, "another")
	term = 3
	end(create(15, "of the next leader").Close) // whose log has taken the place of the rest
	want(15, "of the next leader")
	if _, _, err := store.Open("2-10"); err == nil {
		t.Error("one that is not there is opened")
	}
	if _, err := store.Create(0, 1, 1, raft.Configuration{}, 1, nil); err == nil {
		t.Error("a snapshot of another version is begun")
	}
}
