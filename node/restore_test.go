package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

func restoreInto(t *testing.T, n *Node, backup []byte) Restored {
	t.Helper()
	r, err := n.Restore(bounded(t), bytes.NewReader(backup))
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	return r
}

// wantReset takes what a watcher receives until the Reset of a restore.
func wantReset(t *testing.T, w *fanout.Watcher, revision uint64) {
	t.Helper()
	for {
		switch e := next(t, w); {
		case e.Op == fanout.Reset && e.Revision == revision:
			return
		case e.Revision > revision:
			t.Fatalf("received %+v; want a reset at %d before it", e, revision)
		}
	}
}

// sameState fails the test unless the nodes come to have the same state, byte for
// byte.
func sameState(t *testing.T, nodes []*Node) {
	t.Helper()
	eventually(t, "the nodes have the same state", func() bool {
		first, _ := backupOf(t, nodes[0], Stale(0))
		for _, n := range nodes[1:] {
			if other, _ := backupOf(t, n, Stale(0)); !bytes.Equal(first, other) {
				return false
			}
		}
		return true
	})
}

// TestRestore goes back to an older state of the same cluster, on a node with its
// data on disk and on one in memory: revisions go on upwards, watchers of both kinds
// are told to read again, and a restart tells nobody anything again.
func TestRestore(t *testing.T) {
	t.Parallel()
	t.Run("on disk", func(t *testing.T) {
		t.Parallel()
		testRestore(t, single(t))
	})
	t.Run("in memory", func(t *testing.T) {
		t.Parallel()
		config := single(t)
		config.DataDir, config.InMemory = "", true
		testRestore(t, config)
	})
}

func testRestore(t *testing.T, config Config) {
	conn := externalBroker(t)
	config.NATS, config.NATSURL = "", conn.ConnectedUrl()
	n := lead(t, config)
	kept := put(t, n, "kept", "then")
	deleted := put(t, n, "deleted", "then")
	backup, info := backupOf(t, n)
	put(t, n, "kept", "now")
	if _, err := n.Delete(bounded(t), "deleted"); err != nil {
		t.Fatal(err)
	}
	before := put(t, n, "new", "now")
	cluster, _ := n.machine.Cluster()
	eventually(t, "what was before is published", func() bool { a, _ := n.announced.get(); return a.Revision == before })
	published := subscribe(t, conn, ">")
	w := watch(t, n, ">")

	r := restoreInto(t, n, backup)
	if r.Backup != info || r.Cluster != cluster.ID || r.Revision <= before || n.Revision() != r.Revision {
		t.Fatalf("restored %+v, and the node is at %d; it was at %d", r, n.Revision(), before)
	}
	wantReset(t, w, r.Revision)
	wantValue(t, n, "kept", "then", kept)
	wantValue(t, n, "deleted", "then", deleted)
	if _, err := n.Get(bounded(t), "new"); !errors.Is(err, fsm.ErrNotFound) {
		t.Errorf("a key that the backup does not have: %v", err)
	}
	if _, err := n.Get(bounded(t), "kept", Stale(before)); err != nil {
		t.Errorf("a read that waits for a revision before the restore: %v", err)
	}
	after := put(t, n, "kept", "after")
	if e := next(t, w); e.Revision != after || e.PrevRevision != kept || after <= r.Revision {
		t.Errorf("after the restore comes %+v; want a put at %d, after %d", e, after, kept)
	}
	if got := published.seen(after); len(got) != 1 || got[0].PrevRevision != kept {
		t.Errorf("published is %+v; want the put alone", got)
	}
	lost := nats.Range{From: before + 1, To: r.Revision}
	if got := published.losses(); len(got) != 1 || got[0].Range != lost || got[0].Cluster != cluster.ID {
		t.Errorf("resets %+v; want %+v", got, lost)
	}
	if config.InMemory {
		return
	}

	stop(t, n)
	if got := record(t, config); got.Cluster != cluster.ID || got.Revision != after {
		t.Errorf("recorded %+v; want revision %d", got, after)
	}
	n = start(t, config)
	w = watch(t, n, ">")
	waitReady(t, n)
	wantValue(t, n, "deleted", "then", deleted)
	last := put(t, n, "last", "")
	if got := published.seen(last); len(got) != 2 || len(published.losses()) != 1 {
		t.Errorf("after a restart there are %d events and resets %+v; want one more event", len(got), published.losses())
	}
	if e := next(t, w); e.Revision != last {
		t.Errorf("after a restart a watcher received %+v; want revision %d", e, last)
	}
}

// TestRestoreElsewhere is disaster recovery: into a fresh cluster, whose own id and
// limit stay, at a revision above those of the backup.
func TestRestoreElsewhere(t *testing.T) {
	t.Parallel()
	old := lead(t, single(t))
	for i := range 100 {
		put(t, old, "k", fmt.Sprint(i))
	}
	kept := put(t, old, "kept", "v")
	backup, info := backupOf(t, old)
	stop(t, old)

	config := single(t)
	config.MaxPayload = 64 << 10
	n := lead(t, config)
	cluster, _ := n.machine.Cluster()
	r := restoreInto(t, n, backup)
	if now, _ := n.machine.Cluster(); now != cluster || r.Cluster != cluster.ID || r.Backup.Cluster.ID == cluster.ID {
		t.Errorf("the cluster was %+v, is %+v; restored %+v", cluster, now, r)
	}
	if r.Revision <= info.Revision {
		t.Errorf("at revision %d; the backup was at %d", r.Revision, info.Revision)
	}
	wantValue(t, n, "kept", "v", kept)
	if _, err := n.Put(bounded(t), "k", make([]byte, cluster.MaxValueBytes+1)); !errors.Is(err, fsm.ErrValueTooLarge) {
		t.Errorf("a value beyond the cluster's limit: %v", err)
	}
	put(t, n, "k", "after")
	if again, _ := backupOf(t, n); bytes.Equal(again, backup) {
		t.Error("a write changed nothing")
	}
}

// TestRestoreRefused: bad backups, and a good one in the wrong place, each get one
// line and change nothing.
func TestRestoreRefused(t *testing.T) {
	t.Parallel()
	large := lead(t, single(t))
	put(t, large, "large", strings.Repeat("v", 100<<10))
	tooLarge, _ := backupOf(t, large)

	config := single(t)
	config.MaxPayload = 64 << 10
	config.MaxRestoreBytes = 200 << 10
	n := lead(t, config)
	put(t, n, "k", "v")
	good, _ := backupOf(t, n)
	put(t, n, "k", "w")
	put(t, n, "filler", strings.Repeat("v", 50<<10))
	before, _ := backupOf(t, n)
	w := watch(t, n, ">")
	with := func(change func(b []byte) []byte) io.Reader {
		return bytes.NewReader(change(bytes.Clone(good)))
	}
	for _, c := range []struct {
		name     string
		in       io.Reader
		want     error
		mentions []string
	}{
		{"nothing", with(func([]byte) []byte { return nil }), fsm.ErrCorruptSnapshot, []string{"cut short"}},
		{"cut short", with(func(b []byte) []byte { return b[:len(b)-1] }), fsm.ErrCorruptSnapshot, []string{"cut short"}},
		{"a bit flipped", with(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), fsm.ErrCorruptSnapshot, []string{"checksum"}},
		{"another program's", strings.NewReader("PK\x03\x04 and so on"), fsm.ErrCorruptSnapshot, []string{"no snapshot of a watchcast store"}},
		{"a later version", with(func(b []byte) []byte { b[8] = 99; return b }), fsm.ErrCorruptSnapshot, []string{"version 99"}},
		{"something behind it", with(func(b []byte) []byte { return append(b, 0) }), fsm.ErrCorruptSnapshot, []string{"follows"}},
		{"a value too long for this cluster", bytes.NewReader(tooLarge), fsm.ErrValueTooLarge, []string{`"large"`, "102400 bytes", "61440"}},
		{"too long", io.LimitReader(zeros{}, 1<<20), ErrBackupTooLarge, []string{"204800 bytes", "--max-restore-bytes"}},
		{"a connection that breaks", io.MultiReader(bytes.NewReader(good[:20]), broken{}), errBroken, []string{"receive the backup"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := n.Restore(bounded(t), c.in)
			wantOneLine(t, err, c.want, c.mentions...)
			if now, _ := backupOf(t, n); !bytes.Equal(now, before) {
				t.Error("the state was changed")
			}
		})
	}
	ctx, cancel := context.WithCancel(bounded(t))
	cancel()
	if _, err := n.Restore(ctx, bytes.NewReader(good)); !errors.Is(err, context.Canceled) {
		t.Errorf("restore without time: %v", err)
	}
	if left, err := named(config.DataDir, spoolPrefix, ""); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if e, ok := w.TryNext(); ok {
		t.Errorf("a watcher received %+v", e)
	}
	restoreInto(t, n, good)
	stop(t, n)
	if _, err := n.Restore(bounded(t), bytes.NewReader(good)); !errors.Is(err, ErrClosed) {
		t.Errorf("restore on a closed node: %v", err)
	}
}

// TestRestoreWithoutLimit: the highest MaxRestoreBytes that is taken is one.
func TestRestoreWithoutLimit(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.MaxRestoreBytes = math.MaxInt64
	n := lead(t, config)
	put(t, n, "k", "v")
	backup, info := backupOf(t, n)
	r, err := n.Restore(bounded(t), bytes.NewReader(backup))
	if err != nil || r.Backup != info {
		t.Fatalf("restored %+v, %v; want %+v", r, err, info)
	}
}

// TestSpoolLeftBehind: what a crash left of a restore is gone after the next start, and
// nothing else.
func TestSpoolLeftBehind(t *testing.T) {
	t.Parallel()
	config := single(t)
	left, operators := filepath.Join(config.DataDir, "restore-123.part"), filepath.Join(config.DataDir, "restore-me.backup")
	for _, path := range []string{left, operators} {
		if err := os.WriteFile(path, []byte("half of it"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(config.DataDir, "restore-points", "monday"), 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, config)
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Stat(operators); err != nil {
		t.Errorf("somebody else's file is gone: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

var errBroken = errors.New("connection reset")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

// TestRestoreOneAtATime: a second one is refused while the first is being received.
func TestRestoreOneAtATime(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	backup, _ := backupOf(t, n)
	in, out := io.Pipe()
	first := make(chan error, 1)
	go func() {
		_, err := n.Restore(bounded(t), in)
		first <- err
	}()
	if _, err := out.Write(backup[:10]); err != nil { // returns when Restore has read it
		t.Fatal(err)
	}
	if _, err := n.Restore(bounded(t), bytes.NewReader(backup)); !errors.Is(err, ErrRestoring) {
		t.Errorf("a second restore: %v", err)
	}
	put(t, n, "k", "writes go on until the backup is there")
	out.Write(backup[10:])
	out.Close()
	if err := within(t, "the first restore", func() error { return <-first }); err != nil {
		t.Error(err)
	}
}
