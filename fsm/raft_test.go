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
	n.raft = startRaft(t, n.FSM, log, files)
	return n
}

// startRaft runs a cluster of one, and returns when all that is in its log is
// applied. It ends with the test at the latest.
func startRaft(t *testing.T, machine raft.FSM, log *raft.InmemStore, files raft.SnapshotStore) *raft.Raft {
	t.Helper()
	_, transport := raft.NewInmemTransport("")
	return startRaftOn(t, transport, machine, log, files)
}

func startRaftOn(t *testing.T, transport raft.Transport, machine raft.FSM, log *raft.InmemStore, files raft.SnapshotStore) *raft.Raft {
	t.Helper()
	servers := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: transport.LocalAddr()}}}
	err := raft.BootstrapCluster(testConfig("n1"), log, log, files, transport, servers)
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		t.Fatal(err)
	}
	r := joinRaft(t, "n1", transport, machine, log, files)
	<-r.LeaderCh()
	if err := r.Barrier(0).Error(); err != nil {
		t.Fatal(err)
	}
	return r
}

// joinRaft runs a server that knows of no other yet, if its log knows none.
func joinRaft(t *testing.T, id raft.ServerID, transport raft.Transport, machine raft.FSM, log *raft.InmemStore, files raft.SnapshotStore) *raft.Raft {
	t.Helper()
	r, err := raft.NewRaft(testConfig(id), machine, log, log, files, transport)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Shutdown().Error() })
	return r
}

func testConfig(id raft.ServerID) *raft.Config {
	config := raft.DefaultConfig()
	config.LocalID = id
	config.LogOutput = io.Discard
	config.HeartbeatTimeout = 50 * time.Millisecond
	config.ElectionTimeout = 50 * time.Millisecond
	config.LeaderLeaseTimeout = 50 * time.Millisecond
	config.CommitTimeout = time.Millisecond
	config.TrailingLogs = 1
	return config
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
