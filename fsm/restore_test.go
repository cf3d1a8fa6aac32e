package fsm

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/watchcast/watchcast/fanout"
)

// refuses checks that restoring in fails with want and leaves m as it was.
func refuses(t *testing.T, m *machine, in io.Reader, want error) {
	t.Helper()
	before, events := snapshotOf(t, m.FSM), len(m.events())
	err := m.Restore(io.NopCloser(in))
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
	}
	if !bytes.Equal(snapshotOf(t, m.FSM), before) || len(m.events()) != events {
		t.Error("a refused snapshot changed the state")
	}
}

func TestRestoreReplacesEverything(t *testing.T) {
	source, m := smallMachine(t), newMachine(t, 4)
	m.init()
	m.do(put("before", "1"))
	m.do(del("before"))
	snapshot := snapshotOf(t, source.FSM)
	// One byte at a time: a reader may return as little as it likes.
	if err := m.Restore(io.NopCloser(iotest.OneByteReader(bytes.NewReader(snapshot)))); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(snapshotOf(t, m.FSM), snapshot) {
		t.Error("the restored state is another")
	}
	ev := m.events()
	if n := len(ev); n != 2 || ev[0].Op != fanout.Lagged || ev[1].Op != fanout.Reset || ev[1].Revision != source.Revision() {
		t.Errorf("events are %+v, want the loss of those before and a reset at revision %d", ev, source.Revision())
	}
	m.last = source.last
	if r := m.do(put("gone", "")); r.Err != nil || r.PrevRevision != 4 {
		t.Errorf("put after the restore: %+v", r)
	}
}

func TestRestoreRefusesEveryTruncation(t *testing.T) {
	m, snapshot := smallMachine(t), snapshotOf(t, smallMachine(t).FSM)
	for n := range snapshot {
		refuses(t, m, bytes.NewReader(snapshot[:n]), ErrCorruptSnapshot)
	}
}

func TestRestoreRefusesEveryFlippedBit(t *testing.T) {
	m, snapshot := smallMachine(t), snapshotOf(t, smallMachine(t).FSM)
	for i := range len(snapshot) * 8 {
		flipped := slices.Clone(snapshot)
		flipped[i/8] ^= 1 << (i % 8)
		refuses(t, m, bytes.NewReader(flipped), ErrCorruptSnapshot)
	}
}

// TestRestoreTellsAReadErrorFromDamage: an operator mends them differently.
func TestRestoreTellsAReadErrorFromDamage(t *testing.T) {
	m, snapshot := smallMachine(t), snapshotOf(t, smallMachine(t).FSM)
	for n := range len(snapshot) + 1 {
		in := io.MultiReader(bytes.NewReader(snapshot[:n]), iotest.ErrReader(errDisk))
		refuses(t, m, in, errDisk)
	}
}

func TestRestoreNamesAnotherVersion(t *testing.T) {
	snapshot := snapshotOf(t, smallMachine(t).FSM)
	snapshot[len(snapshotMagic)-1] = 2
	err := restore(smallMachine(t).FSM, snapshot)
	if !errors.Is(err, ErrCorruptSnapshot) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("error is %v", err)
	}
}

// TestRestoreAllocatesForWhatIsThere gives a record that claims 64 MiB and ends.
func TestRestoreAllocatesForWhatIsThere(t *testing.T) {
	var out bytes.Buffer
	w := newSnapshotWriter(&out)
	w.magic()
	w.record(recordHeader, (&snapshot{revision: 1, cluster: Cluster{ID: "x", MaxValueBytes: MaxValueLimit}}).appendHeader)
	w.write(protowire.AppendVarint(protowire.AppendTag(nil, recordEntry, protowire.BytesType), MaxValueLimit))
	if err := w.out.Flush(); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, 4)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := restore(m.FSM, out.Bytes())
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrCorruptSnapshot) || !strings.Contains(err.Error(), errCutShort.Error()) {
		t.Errorf("error is %v", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("allocated %d bytes for a snapshot of %d", got, out.Len())
	}
}

// FuzzRestore mutates snapshots, whose checksum it mends if asked to. One that
// is accepted must be the very one that its state would write.
func FuzzRestore(f *testing.F) {
	for _, m := range []*machine{newMachine(f, 4), smallMachine(f)} {
		snapshot := snapshotOf(f, m.FSM)
		f.Add(snapshot, false)
		f.Add(snapshot[:len(snapshot)-4], true)
	}
	f.Fuzz(func(t *testing.T, in []byte, mend bool) {
		if mend {
			in = protowire.AppendFixed32(slices.Clip(in), crc32.Checksum(in, castagnoli))
		}
		m := newMachine(t, 4)
		m.init()
		m.do(put("k", "v"))
		before := snapshotOf(t, m.FSM)
		err := restore(m.FSM, in)
		after := snapshotOf(t, m.FSM)
		switch {
		case err == nil && !bytes.Equal(after, in):
			t.Fatalf("accepted %x and wrote %x", in, after)
		case err != nil && !errors.Is(err, ErrCorruptSnapshot):
			t.Fatalf("error is %v", err)
		case err != nil && !bytes.Equal(after, before):
			t.Fatal("a refused snapshot changed the state")
		}
	})
}

// TestRestoreOfAnOlderStateIsSeen: when an operator goes back, readers that are
// further than the snapshot hear of it all the same.
func TestRestoreOfAnOlderStateIsSeen(t *testing.T) {
	m := newMachine(t, 4)
	m.init()
	m.do(put("k", "1"))
	older := snapshotOf(t, m.FSM)
	for range 10 {
		m.do(put("k", "2"))
	}
	before := m.Revision()
	reader := m.ring.Cursor(before) // has seen all of it
	defer reader.Close()
	if err := m.Restore(io.NopCloser(bytes.NewReader(older))); err != nil {
		t.Fatal(err)
	}
	m.last++ // Raft gives the restore an index of its own
	after := m.do(put("k", "3")).Revision
	events := reader.Poll(make([]*fanout.Event, 0, 8))
	if len(events) != 2 || events[0].Op != fanout.Reset || events[0].Revision != before+1 || events[1].Revision != after {
		t.Fatalf("a reader at %d saw %+v; want a reset, and the put at %d", before, events, after)
	}
}

// TestEveryRestoreIsSeen: however often an operator goes back and forth, and whatever was
// refused before, each restore is news to a reader that has seen all that was.
func TestEveryRestoreIsSeen(t *testing.T) {
	m := newMachine(t, 4)
	m.init()
	m.do(put("k", "1"))
	oldest := snapshotOf(t, m.FSM)
	m.do(put("k", "2"))
	older := snapshotOf(t, m.FSM)
	for range 10 {
		m.do(put("k", "3"))
	}
	reader := m.ring.Cursor(m.Revision())
	defer reader.Close()
	for i, snapshot := range [][]byte{oldest, oldest, older, oldest} {
		if err := restore(m.FSM, snapshot); err != nil {
			t.Fatal(err)
		}
		m.last++ // Raft gives each restore an index of its own
		events := reader.Poll(make([]*fanout.Event, 0, 8))
		if len(events) != 1 || events[0].Op != fanout.Reset || events[0].Revision > m.last {
			t.Fatalf("restore %d: a reader saw %+v; want one reset, at %d or below", i, events, m.last)
		}
	}
}

// TestRestoreOfAStateBeforeInit: the constants of the cluster are those of the state, also
// if that goes back to before there were any.
func TestRestoreOfAStateBeforeInit(t *testing.T) {
	m := newMachine(t, 4)
	empty := snapshotOf(t, m.FSM)
	m.init()
	if err := restore(m.FSM, empty); err != nil {
		t.Fatal(err)
	}
	if c, ok := m.Cluster(); ok {
		t.Errorf("before Init the cluster is %+v", c)
	}
	m.last++
	another := Cluster{ID: "another", MaxValueBytes: 8}
	m.do(Command{Op: CommandInit, Cluster: another})
	if c, ok := m.Cluster(); !ok || c != another {
		t.Errorf("the cluster is %+v, %v; want %+v", c, ok, another)
	}
}

// TestStateGoesBack: the log goes on below what the ring has shown, because the state was one
// that a leader alone had restored. Whoever watches is told to read again with each batch, and
// has the changes themselves once the log has come as far.
func TestStateGoesBack(t *testing.T) {
	m := newMachine(t, 16)
	m.init()
	m.do(put("k", "1"))
	older, last := snapshotOf(t, m.FSM), m.last
	m.last += 6
	m.do(put("k", "alone"))
	known := m.ring.Cursor(m.last)
	defer known.Close()
	restore := func() {
		t.Helper()
		if err := m.Restore(io.NopCloser(bytes.NewReader(older))); err != nil {
			t.Fatal(err)
		}
		m.last = last
	}
	restore()
	m.do(put("k", "2"))
	restore() // and again, while it is below
	resets, puts, shown := 0, 0, last
	for puts < 3 && resets < 20 {
		begun := m.ring.Cursor(m.last) // of who knows the state
		m.ApplyBatch([]*raft.Log{logOf(m.last+1, put("k", "3")), logOf(m.last+2, put("l", "3"))})
		m.last += 2
		for name, r := range map[string]*fanout.Cursor{"who was there": known, "who begins": begun} {
			events := r.Poll(make([]*fanout.Event, 0, 8))
			if len(events) == 0 {
				t.Fatalf("%s saw nothing of the changes up to %d", name, m.last)
			}
			e := events[len(events)-1]
			if e.Op == fanout.Put && e.Revision != m.last || e.Op != fanout.Put && (e.Op != fanout.Reset || puts > 0 && r == known) {
				t.Fatalf("%s saw %v at %d of the changes up to %d", name, e.Op, e.Revision, m.last)
			}
			if r != known {
				continue
			}
			if e.Revision <= shown {
				t.Fatalf("it saw %v at %d behind %d", e.Op, e.Revision, shown)
			}
			if shown = e.Revision; e.Op == fanout.Put {
				puts++
			} else {
				resets++
			}
		}
		begun.Close()
	}
	if resets < 3 || puts < 3 {
		t.Errorf("there were %d resets and %d batches of changes", resets, puts)
	}
}
