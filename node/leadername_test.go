package node

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestLeaderGoesWithinTransfer: a heartbeat of the leader comes to a node to which it has just
// handed over, and then the leader is gone, and with it the majority. Raft goes on naming it;
// the node says that there is no leader.
func TestLeaderGoesWithinTransfer(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 2)
	leader, others := split(t, nodes)
	n := others[0]
	put(t, leader, "k", "v")
	own, address, acquainted := leader.self(), leader.consensus.address, leader.consensus.acquainted
	stop(t, leader)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: newStreamLayer(listener, nil, nil, acquainted), MaxPool: 1, Timeout: patience, Logger: raftLogger(testLogger(t))})
	defer transport.Close()
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(own), Addr: []byte(address)}
	eventually(t, "Raft names a leader who is gone", func() bool {
		var over raft.TimeoutNowResponse
		if err := transport.TimeoutNow(n.self(), n.consensus.address, &raft.TimeoutNowRequest{RPCHeader: header}, &over); err != nil {
			t.Fatal(err)
		}
		beat := raft.AppendEntriesRequest{RPCHeader: header, Term: n.consensus.raft.CurrentTerm(), Leader: []byte(address)}
		var answer raft.AppendEntriesResponse
		if err := transport.AppendEntries(n.self(), n.consensus.address, &beat, &answer); err != nil {
			t.Fatal(err)
		}
		_, named := n.consensus.raft.LeaderWithID()
		return named == own && n.consensus.raft.State() == raft.Candidate
	})
	if l := n.Leader(); l != "" {
		t.Errorf("the leader is %q", l)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := n.Put(ctx, "k", nil); !errors.Is(err, ErrNoLeader) {
		t.Errorf("a write: %v; want %v", err, ErrNoLeader)
	}
}
