package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/internal/freeport"
)

func backupOf(t *testing.T, n *Node, opts ...ReadOption) ([]byte, fsm.BackupInfo) {
	t.Helper()
	var out bytes.Buffer
	info, err := n.Backup(bounded(t), &out, opts...)
	if err != nil {
		t.Fatalf("backup of %s: %v", n.ID(), err)
	}
	return out.Bytes(), info
}

// gated is a writer that is stuck until it is opened.
type gated struct {
	bytes.Buffer
	stuck, open chan struct{}
}

func newGated() *gated { return &gated{stuck: make(chan struct{}, 1), open: make(chan struct{})} }

func (g *gated) Write(b []byte) (int, error) {
	select {
	case g.stuck <- struct{}{}:
	default:
	}
	<-g.open
	return g.Buffer.Write(b)
}

// TestBackup: it is the state at the revision that it states, with everything that
// was acknowledged before, and nothing that was written while it was being written;
// and writes go on.
func TestBackup(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	const keys = 500
	var last uint64
	for i := range keys {
		last = put(t, n, fmt.Sprint(i), strings.Repeat("before", 100))
	}
	out := newGated()
	type result struct {
		info fsm.BackupInfo
		err  error
	}
	done := make(chan result, 1)
	go func() {
		info, err := n.Backup(bounded(t), out)
		done <- result{info, err}
	}()
	within(t, "the backup's first write", func() struct{} { return <-out.stuck })
	for i := range keys {
		put(t, n, fmt.Sprint(i), "meanwhile")
	}
	close(out.open)
	r := within(t, "the backup", func() result { return <-done })
	cluster, _ := n.machine.Cluster()
	if r.err != nil || r.info != (fsm.BackupInfo{Cluster: cluster, Revision: last, Keys: keys}) {
		t.Fatalf("backup of %+v, %v; want revision %d", r.info, r.err, last)
	}
	other := lead(t, single(t))
	restoreInto(t, other, out.Bytes())
	for i := range keys {
		if e, err := other.Get(bounded(t), fmt.Sprint(i)); err != nil || !strings.HasPrefix(string(e.Value), "before") {
			t.Fatalf("key %d in the backup is %q, %v", i, e.Value, err)
		}
	}
}

// TestBackupSeesWrites: what was acknowledged before a backup is in it.
func TestBackupSeesWrites(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 50 {
				revision, err := n.Put(bounded(t), fmt.Sprintf("%d.%d", i, j), nil)
				if err != nil {
					t.Errorf("put: %v", err)
					return
				}
				var out bytes.Buffer
				if info, err := n.Backup(bounded(t), &out); err != nil || info.Revision < revision {
					t.Errorf("a backup after revision %d is of %+v, %v", revision, info, err)
				}
				if checked, err := fsm.CheckBackup(&out); err != nil || checked.Revision < revision {
					t.Errorf("checked, it is of %+v, %v", checked, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestBackupOfReplicas: only the leader knows the newest state; the others give
// theirs, which is the same once they have caught up.
func TestBackupOfReplicas(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	last := put(t, leader, "k", "v")
	want, _ := backupOf(t, leader)
	for _, n := range others {
		var out bytes.Buffer
		if _, err := n.Backup(bounded(t), &out); !errors.Is(err, ErrNotLeader) || !strings.Contains(err.Error(), leader.ID()) || out.Len() > 0 {
			t.Errorf("backup of %s: %v after %d bytes; want %v that names %s", n.ID(), err, out.Len(), ErrNotLeader, leader.ID())
		}
		if got, info := backupOf(t, n, Stale(last)); info.Revision != last || !bytes.Equal(got, want) {
			t.Errorf("the backup of %s is of %+v; want the leader's", n.ID(), info)
		}
	}
}

// TestBackupEnds with its context and with the node, not with the whole state
// written.
func TestBackupEnds(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	put(t, n, "k", strings.Repeat("v", 200<<10)) // more than one write
	testBackupEnds(t, n, func(cancel context.CancelFunc) { cancel() }, context.Canceled)
	testBackupEnds(t, n, func(context.CancelFunc) { stop(t, n) }, ErrClosed)
	if _, err := n.Backup(bounded(t), &bytes.Buffer{}); !errors.Is(err, ErrClosed) {
		t.Errorf("backup of a closed node: %v", err)
	}
}

func testBackupEnds(t *testing.T, n *Node, end func(context.CancelFunc), want error) {
	t.Helper()
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	out := newGated()
	done := make(chan error, 1)
	go func() {
		_, err := n.Backup(ctx, out)
		done <- err
	}()
	within(t, "the backup's first write", func() struct{} { return <-out.stuck })
	end(cancel)
	close(out.open)
	if err := within(t, "the backup", func() error { return <-done }); !errors.Is(err, want) {
		t.Errorf("backup ended with %v; want %v", err, want)
	}
}

// TestBackupOfNothing is refused where no leader has been yet.
func TestBackupOfNothing(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.Raft = freeport.Address(t)
	config.Peers = map[string]string{DefaultID: config.Raft, "gone-1": freeport.Address(t), "gone-2": freeport.Address(t)}
	n := start(t, config)
	_, err := n.Backup(bounded(t), &bytes.Buffer{}, Stale(0))
	wantOneLine(t, err, ErrBehind, "nothing to back up")
}
