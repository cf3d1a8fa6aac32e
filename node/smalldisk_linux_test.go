package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/internal/smalldisk"
)

const mib = 1 << 20

// onDisk is the configuration of a node whose data are on a small disk.
func onDisk(t *testing.T) (Config, *smalldisk.Disk) {
	t.Helper()
	disk := smalldisk.New(t, 160*mib) // two segments of the log, and some
	c := single(t)
	c.DataDir = filepath.Join(disk.Dir, "data")
	return c, disk
}

var large = strings.Repeat("v", 200_000)

// putLarge puts 4 MB, and returns the revisions.
func putLarge(t *testing.T, n *Node) map[string]uint64 {
	t.Helper()
	revisions := make(map[string]uint64)
	for i := range 20 {
		key := fmt.Sprint("k", i)
		revisions[key] = put(t, n, key, large)
	}
	return revisions
}

// wantLarge holds that a node has what putLarge put.
func wantLarge(t *testing.T, n *Node, revisions map[string]uint64) {
	t.Helper()
	for key, revision := range revisions {
		if e, err := n.Get(bounded(t), key); err != nil || string(e.Value) != large || e.Revision != revision {
			t.Fatalf("get %s: %d bytes at %d, %v; want %d at %d", key, len(e.Value), e.Revision, err, len(large), revision)
		}
	}
}

// wantFree waits until so many bytes are free: what another test starts as a process has the
// files of this one, too, until it runs its own program, and with them the room of one that
// was removed meanwhile.
func wantFree(t *testing.T, disk *smalldisk.Disk, bytes int64) {
	t.Helper()
	eventually(t, fmt.Sprint(bytes, " bytes are free"), func() bool { return disk.Free() >= bytes })
}

// left returns what lies in a directory.
func left(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestSnapshotOnFullDisk: where a snapshot does not fit, none is left, not half of one
// either; the log is not cut, and the node goes on. With room the next one is taken.
func TestSnapshotOnFullDisk(t *testing.T) {
	t.Parallel()
	c, disk := onDisk(t)
	n := lead(t, c)
	revisions := putLarge(t, n)
	keepNoLog(t, n)
	for _, room := range []int64{2 * mib, 0} {
		disk.Fill(room)
		free := disk.Free()
		for range 3 {
			if err := n.consensus.raft.Snapshot().Error(); err == nil || !strings.Contains(err.Error(), "no space left") {
				t.Fatalf("a snapshot of 4 MB in %d: %v", room, err)
			}
		}
		if names := left(t, n.dir.snapshots()); len(names) > 0 {
			t.Errorf("%q is left of it", names)
		}
		wantFree(t, disk, free-mib/2)
	}
	put(t, n, "later", "v")
	disk.MakeRoom()
	stop(t, n)
	half := filepath.Join(n.dir.snapshots(), "2-3-4"+unfinished) // what a crash leaves
	if err := os.Mkdir(half, 0o755); err != nil {
		t.Fatal(err)
	}
	n = lead(t, c)
	wantLarge(t, n, revisions)
	takeSnapshot(t, n)
	if names := left(t, n.dir.snapshots()); len(names) != 1 {
		t.Errorf("the snapshots are %q; want one", names)
	}
}

// TestSnapshotsEnd: a snapshot that fits but for what is written at its end gives back its
// room at once, not when somebody collects the file; one that cannot be begun leaves the
// one beside it alone; and one that has its name stays whole, whatever fails behind that.
func TestSnapshotsEnd(t *testing.T) {
	t.Parallel()
	disk := smalldisk.New(t, 8*mib)
	store, err := openSnapshots(&dataDir{path: disk.Dir}, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	begin := func(index uint64) (raft.SnapshotSink, error) {
		return store.Create(raft.SnapshotVersionMax, index, 1, raft.Configuration{}, 1, nil)
	}
	write := func(s raft.SnapshotSink, bytes int) {
		t.Helper()
		if _, err := s.Write(make([]byte, bytes)); err != nil {
			t.Fatal(err)
		}
	}
	for i, end := range []func(raft.SnapshotSink) error{
		raft.SnapshotSink.Close,
		func(s raft.SnapshotSink) error { s.Cancel(); return syscall.ENOSPC },
	} {
		free := disk.Free()
		sink, err := begin(uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		write(sink, 2*mib) // at once
		disk.Fill(0)
		write(sink, 1) // at the end
		if other, err := begin(10); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("no snapshot can be begun, and there is %v, %v", other, err)
		}
		if names := left(t, store.dir); !slices.Equal(names, []string{sink.ID() + unfinished}) {
			t.Errorf("beside one that goes on there is %q", names)
		}
		if err := end(sink); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("the end of a snapshot that does not fit: %v", err)
		}
		disk.MakeRoom()
		if names := left(t, store.dir); len(names) > 0 {
			t.Errorf("there is %q", names)
		}
		wantFree(t, disk, free)
		runtime.KeepAlive(sink)
	}
	for i, complains := range []error{nil, errBroken} {
		sink, err := begin(20 + uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		write(sink, 2*mib)
		raftsOwn := &sink.(*snapshotSink).SnapshotSink
		*raftsOwn = complaining{*raftsOwn, complains}
		if err := sink.Close(); !errors.Is(err, complains) {
			t.Errorf("Close: %v; want %v", err, complains)
		}
		_, state, err := store.Open(sink.ID()) // which checks it
		if err != nil {
			t.Fatalf("a snapshot of which the end said %v: %v", complains, err)
		}
		state.Close()
	}
}

// complaining is a snapshot's own store that fails behind the last step, as Raft's does
// where it cannot remove older ones.
type complaining struct {
	raft.SnapshotSink
	err error
}

func (c complaining) Close() error { return errors.Join(c.SnapshotSink.Close(), c.err) }

// TestRestoreOnFullDisk: a backup that does not fit is refused, nothing is changed or
// left, and the node goes on.
func TestRestoreOnFullDisk(t *testing.T) {
	t.Parallel()
	c, disk := onDisk(t)
	n := lead(t, c)
	revisions := putLarge(t, n)
	backup, _ := backupOf(t, n)
	later := put(t, n, "later", "v")
	before := left(t, c.DataDir)
	disk.Fill(2 * mib)
	_, err := n.Restore(bounded(t), bytes.NewReader(backup))
	wantOneLine(t, err, syscall.ENOSPC, "receive the backup", c.DataDir)
	if after := left(t, c.DataDir); !slices.Equal(before, after) {
		t.Errorf("the directory has %q; had %q", after, before)
	}
	wantLarge(t, n, revisions)
	wantValue(t, n, "later", "v", later)
	put(t, n, "later", "again")
	disk.MakeRoom()
	restoreInto(t, n, backup)
}

// TestLogOfRestoreOnFullDisk: a backup fits, but not the segment that the log is begun
// anew with. The node stops by itself and says so at once; with room it has the state
// of the backup.
func TestLogOfRestoreOnFullDisk(t *testing.T) {
	t.Parallel()
	c, disk := onDisk(t)
	n := lead(t, c)
	revisions := putLarge(t, n)
	backup, _ := backupOf(t, n)
	put(t, n, "later", "v")
	disk.Fill(16 * mib) // also for the file that the backup was received in: see wantFree
	began := time.Now()
	_, err := n.Restore(context.Background(), bytes.NewReader(backup))
	if took := time.Since(began); took >= settleTime {
		t.Errorf("it took %v", took)
	}
	wantOneLine(t, err, ErrUnknownOutcome, "restore it again", "no space left on device")
	wantOneLine(t, n.Err(), ErrStorage, c.DataDir, "no space left on device", "make room there")
	disk.MakeRoom()
	stop(t, n)
	n = lead(t, c)
	for key := range revisions {
		if e, err := n.Get(bounded(t), key); err != nil || string(e.Value) != large {
			t.Errorf("get %s: %d bytes, %v", key, len(e.Value), err)
		}
	}
	if _, err := n.Get(bounded(t), "later"); !errors.Is(err, fsm.ErrNotFound) {
		t.Errorf("what the backup does not have: %v", err)
	}
	put(t, n, "later", "again")
}

// TestRecordOnFullDisk: a node that cannot record how far it announced says so in one
// line a period, goes on, and ends with an error that says it; it starts again with all
// that it had.
func TestRecordOnFullDisk(t *testing.T) {
	t.Parallel()
	log := &logged{}
	c, disk := onDisk(t)
	c.Logger = slog.New(slog.NewTextHandler(log, nil))
	n, err := Start(bounded(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() }) // which fails
	waitReady(t, n)
	disk.Fill(0)
	revisions := putLarge(t, n)
	eventually(t, "it is told", func() bool { return len(log.lines("more events than necessary")) > 0 })
	for range 5 {
		n.saveAnnounced()
	}
	if lines := log.lines("more events than necessary"); len(lines) != 1 || !strings.Contains(lines[0], "no space left on device") {
		t.Errorf("logged %q; want one line with the reason", lines)
	}
	wantOneLine(t, within(t, "Close", n.Close), syscall.ENOSPC, "record how far events were announced", n.dir.announced())
	disk.MakeRoom()
	n = lead(t, c)
	wantLarge(t, n, revisions)
}
