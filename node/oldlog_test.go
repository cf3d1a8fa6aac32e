package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fsm"
)

// TestCrashWithinRestore starts a node that died between storing the snapshot of a
// restore and dropping the log that it replaces: it has the restored state, and it can
// be written to.
func TestCrashWithinRestore(t *testing.T) {
	t.Parallel()
	config := single(t)
	n := lead(t, config)
	kept := put(t, n, "kept", "then")
	b := n.machine.Backup()
	put(t, n, "kept", "now")
	last, term := n.consensus.raft.LastIndex(), n.consensus.raft.CurrentTerm()
	membership := n.consensus.raft.GetConfiguration()
	cluster, _ := n.machine.Cluster()
	stop(t, n)

	storeSnapshot(t, config, b, cluster, last+10, term, membership)
	n = lead(t, config)
	wantValue(t, n, "kept", "then", kept)
	revision := put(t, n, "kept", "after")
	if revision <= last+10 {
		t.Errorf("the next write is at %d; the restored state is at %d", revision, last+10)
	}
	stop(t, n)
	n = lead(t, config)
	wantValue(t, n, "kept", "after", revision)
}

// storeSnapshot does what a restore does first.
func storeSnapshot(t *testing.T, config Config, b *fsm.Backup, cluster fsm.Cluster, index, term uint64, membership raft.ConfigurationFuture) {
	t.Helper()
	if err := b.MoveTo(cluster, index); err != nil {
		t.Fatal(err)
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(config.DataDir, snapshotsKept, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	_, transport := raft.NewInmemTransport("")
	sink, err := files.Create(raft.SnapshotVersionMax, index, term, membership.Configuration(), 1, transport)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.WriteTo(sink); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBadSnapshotDropsNothing: a snapshot that cannot be read does not replace the
// log that is there.
func TestBadSnapshotDropsNothing(t *testing.T) {
	t.Parallel()
	config := single(t)
	n := lead(t, config)
	revision := put(t, n, "k", "v")
	b := n.machine.Backup()
	last, term := n.consensus.raft.LastIndex(), n.consensus.raft.CurrentTerm()
	membership := n.consensus.raft.GetConfiguration()
	cluster, _ := n.machine.Cluster()
	stop(t, n)

	storeSnapshot(t, config, b, cluster, last+10, term, membership)
	states, err := filepath.Glob(filepath.Join(config.DataDir, "snapshots", "*", "state.bin"))
	if err != nil || len(states) != 1 {
		t.Fatalf("snapshots %v, %v", states, err)
	}
	whole, err := os.ReadFile(states[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(states[0], whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Start(bounded(t), config)
	wantOneLine(t, err, ErrCorrupt, "snapshot")
	if err := os.RemoveAll(filepath.Dir(states[0])); err != nil { // as an operator would
		t.Fatal(err)
	}
	wantValue(t, lead(t, config), "k", "v", revision)
}
