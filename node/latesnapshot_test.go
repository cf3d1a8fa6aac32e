package node

import (
	"io"
	"net"
	"testing"

	"github.com/hashicorp/raft"
)

// TestLateSnapshot: a snapshot that comes late, when the node has gone on, changes nothing: the
// node keeps what it has acknowledged since, which is there when it leads.
func TestLateSnapshot(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	put(t, leader, "k", "then")
	if err := leader.consensus.compact(leastTrailing); err != nil {
		t.Fatal(err)
	}
	stop(t, others[1]) // so that only the other one has what comes now
	node := others[0]
	w := watch(t, node, ">")
	last := put(t, leader, "k", "now")
	eventually(t, "it has committed that", func() bool { return node.consensus.raft.CommitIndex() >= last })
	sendSnapshot(t, leader, node)
	if e := next(t, w); e.Revision != last {
		t.Errorf("a watcher received %+v; want revision %d", e, last)
	}
	wantEntry(t, node, "k", "now")
	if err := leader.handOver(bounded(t)); err != nil {
		t.Fatal(err)
	}
	waitReady(t, node)
	wantValue(t, node, "k", "now", last)
	after := put(t, node, "k", "after")
	if e := next(t, w); e.Revision != after {
		t.Errorf("then it received %+v; want revision %d", e, after)
	}
}

// sendSnapshot sends the leader's newest snapshot to another node, as the leader does.
func sendSnapshot(t *testing.T, leader, to *Node) {
	t.Helper()
	list, err := leader.consensus.snapshots.List()
	if err != nil || len(list) == 0 {
		t.Fatalf("%d snapshots, %v", len(list), err)
	}
	meta, data, err := leader.consensus.snapshots.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	answer, err := installSnapshot(t, leader, to, meta, data)
	if err != nil || !answer.Success {
		t.Fatalf("%+v, %v", answer, err)
	}
}

// installSnapshot sends one over a connection of its own.
func installSnapshot(t *testing.T, leader, to *Node, meta *raft.SnapshotMeta, data io.Reader) (answer raft.InstallSnapshotResponse, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return answer, err
	}
	layer := newStreamLayer(listener, nil, nil, leader.consensus.acquainted)
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: layer, MaxPool: 1, Timeout: patience, Logger: raftLogger(testLogger(t))})
	defer transport.Close()
	err = transport.InstallSnapshot(to.self(), to.consensus.address, &raft.InstallSnapshotRequest{
		RPCHeader:       raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(leader.ID()), Addr: []byte(leader.consensus.address)},
		SnapshotVersion: meta.Version, Term: leader.consensus.raft.CurrentTerm(), Leader: []byte(leader.consensus.address),
		LastLogIndex: meta.Index, LastLogTerm: meta.Term, Size: meta.Size,
		Configuration: raft.EncodeConfiguration(meta.Configuration), ConfigurationIndex: meta.ConfigurationIndex,
	}, &answer, data)
	return answer, err
}
