package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// node is one Raft server on stores that outlive it.
type node struct {
	*machine
	raft *raft.Raft
}

func startNode(t *testing.T, log *raft.InmemStore, files raft.SnapshotStore) *node {
	t.Helper()
	n := &node{machine: newMachine(t, keptTombstones)}
	addr, transport := raft.NewInmemTransport("")
	config := raft.DefaultConfig()
	config.LocalID = "n1"
	config.LogOutput = io.Discard
	config.HeartbeatTimeout = 50 * time.Millisecond
	config.ElectionTimeout = 50 * time.Millisecond
	config.LeaderLeaseTimeout = 50 * time.Millisecond
	config.CommitTimeout = time.Millisecond
	config.TrailingLogs = 1
	servers := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: addr}}}
	err := raft.BootstrapCluster(config, log, log, files, transport, servers)
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		t.Fatal(err)
	}
	if n.raft, err = raft.NewRaft(config, n.FSM, log, log, files, transport); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.stop)
	<-n.raft.LeaderCh()
	if err := n.raft.Barrier(0).Error(); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) stop() { n.raft.Shutdown().Error() }

func (n *node) propose(t *testing.T, c Command) Result {
	t.Helper()
	future := n.raft.Apply(c.Append(nil), 0)
	if err := future.Error(); err != nil {
		t.Fatal(err)
	}
	r := future.Response().(Result)
	if r.Revision != future.Index() {
		t.Fatalf("result is of revision %d, the entry of index %d", r.Revision, future.Index())
	}
	return r
}

// TestUnderRaft runs the state machine under a real Raft, which sends it its
// own entries as well, restarts it from snapshot and log, and then replaces its
// state by an operator's copy.
func TestUnderRaft(t *testing.T) {
	log := raft.NewInmemStore()
	files, err := raft.NewFileSnapshotStoreWithLogger(t.TempDir(), 2, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	n := startNode(t, log, files)
	if r := n.Revision(); r != 0 {
		t.Errorf("a new cluster stands at revision %d; it had no command", r)
	}
	n.propose(t, Command{Op: CommandInit, Cluster: testCluster})
	for i := range 100 {
		n.propose(t, put(fmt.Sprint(i%30), fmt.Sprint(i)))
	}
	n.propose(t, del("7"))
	backup := n.raft.Snapshot()
	if err := backup.Error(); err != nil {
		t.Fatal(err)
	}
	saved := snapshotOf(t, n.FSM)
	deleted := n.propose(t, del("8")).Revision
	if r := n.propose(t, put("9", "x").at(1)); !errors.Is(r.Err, ErrConflict) {
		t.Errorf("conflicting put: %+v", r)
	}
	want := snapshotOf(t, n.FSM)
	n.stop()

	n = startNode(t, log, files)
	if !bytes.Equal(snapshotOf(t, n.FSM), want) {
		t.Error("after a restart the state is another")
	}
	if r := n.propose(t, put("8", "")); r.PrevRevision != deleted {
		t.Errorf("put after the restart: %+v, want previous %d", r, deleted)
	}

	meta, in, err := backup.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := n.raft.Restore(meta, in, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(snapshotOf(t, n.FSM), saved) {
		t.Error("after the operator's restore the state is another")
	}
}
