package node

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// peerTransport listens on a free port.
func peerTransport(t *testing.T) *transport {
	t.Helper()
	layer, err := newStreamLayer("127.0.0.1:0", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &transport{heard: newHeard(), NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: layer, MaxPool: transportPool, MaxRPCsInFlight: noPipeline, Timeout: patience, Logger: hclog.NewNullLogger(),
	})}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestLateAnswersProveNothing: an answer to a question from before a proof began
// is no vote in it, however late it comes, and neither is one of another term.
func TestLateAnswersProveNothing(t *testing.T) {
	t.Parallel()
	leader, follower := peerTransport(t), peerTransport(t)
	servers := []raft.Server{
		{ID: "n1"}, {ID: "n2"}, {ID: "n3"},
		{ID: "n4", Suffrage: raft.Nonvoter}, {ID: "n5", Suffrage: raft.Nonvoter},
	}
	const term = 7
	followed := func(proof uint64) bool {
		ok, _ := leader.heard.majority("n1", servers, term, proof)
		return ok
	}
	ask := func(of raft.ServerID) <-chan error {
		answered := make(chan error, 1)
		go func() {
			answered <- leader.AppendEntries(of, follower.LocalAddr(),
				&raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{Addr: []byte(leader.LocalAddr())}, Term: term, PrevLogEntry: 1}, &raft.AppendEntriesResponse{})
		}()
		return answered
	}
	question := func() raft.RPC {
		select {
		case rpc := <-follower.Consumer():
			return rpc
		case <-time.After(patience):
			t.Fatal("the question does not come")
			panic("unreachable")
		}
	}
	answer := func(rpc raft.RPC, answered <-chan error, term uint64) {
		t.Helper()
		rpc.Respond(&raft.AppendEntriesResponse{Term: term, Success: true}, nil)
		if err := within(t, "the answer", func() error { return <-answered }); err != nil {
			t.Fatal(err)
		}
	}

	signalled := func(changed <-chan struct{}) {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(patience):
			t.Fatal("who waits is not told of an answer")
		}
	}

	early := ask("n2")
	rpc := question()
	proof := leader.heard.begin()
	answer(rpc, early, term)
	if followed(proof) {
		t.Error("an answer to a question from before the proof counts")
	}
	_, changed := leader.heard.majority("n1", servers, term, proof)
	other := ask("n2")
	answer(question(), other, term+1)
	if followed(proof) {
		t.Error("an answer of a later term counts")
	}
	for _, of := range []raft.ServerID{"n4", "n5"} {
		nonvoter := ask(of)
		answer(question(), nonvoter, term)
	}
	if followed(proof) {
		t.Error("nonvoters count")
	}
	signalled(changed)
	_, changed = leader.heard.majority("n1", servers, term, proof)
	now := ask("n2")
	answer(question(), now, term)
	if !followed(proof) {
		t.Error("an answer to a question from after the proof began does not count")
	}
	signalled(changed)
	if next := leader.heard.begin(); followed(next) {
		t.Error("it counts for the next proof, too")
	}
}

// TestNoPipeline: see noPipeline.
func TestNoPipeline(t *testing.T) {
	t.Parallel()
	p := peerTransport(t)
	if _, err := p.AppendEntriesPipeline("n2", p.LocalAddr()); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("a pipeline: %v; want %v", err, raft.ErrPipelineReplicationNotSupported)
	}
}
