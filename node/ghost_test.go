package node

import (
	"io"
	"net"
	"testing"

	"github.com/hashicorp/raft"
)

// ghost speaks by Raft in the name of a node, which may have ended, over connections of its
// own.
type ghost struct {
	t         *testing.T
	of        *Node
	transport *raft.NetworkTransport
}

func ghostOf(t *testing.T, n *Node) ghost {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	layer := newStreamLayer(listener, nil, nil, n.consensus.acquainted)
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: layer, MaxPool: 1, Timeout: patience, Logger: raftLogger(testLogger(t))})
	t.Cleanup(func() { transport.Close() })
	return ghost{t, n, transport}
}

func (g ghost) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(g.of.ID()), Addr: []byte(g.of.consensus.address)}
}

// append sends n empty entries of a term, behind one.
func (g ghost) append(to *Node, term uint64, behind raft.Log, n int) {
	g.t.Helper()
	request := &raft.AppendEntriesRequest{RPCHeader: g.header(), Term: term, PrevLogEntry: behind.Index, PrevLogTerm: behind.Term}
	for i := range n {
		request.Entries = append(request.Entries, &raft.Log{Index: behind.Index + 1 + uint64(i), Term: term, Type: raft.LogNoop})
	}
	if !g.send(to, request) {
		g.t.Fatalf("%d entries behind %d of term %d are refused", n, behind.Index, behind.Term)
	}
}

// heartbeat says that it leads in the term in which the other node is.
func (g ghost) heartbeat(to *Node) (agreed bool) {
	g.t.Helper()
	return g.send(to, &raft.AppendEntriesRequest{RPCHeader: g.header(), Term: to.consensus.raft.CurrentTerm()})
}

func (g ghost) send(to *Node, request *raft.AppendEntriesRequest) (agreed bool) {
	g.t.Helper()
	var answer raft.AppendEntriesResponse
	if err := g.transport.AppendEntries(to.self(), to.consensus.address, request, &answer); err != nil {
		g.t.Fatal(err)
	}
	return answer.Success
}

// install sends a snapshot.
func (g ghost) install(to *Node, term uint64, meta *raft.SnapshotMeta, data io.Reader) (answer raft.InstallSnapshotResponse, err error) {
	err = g.transport.InstallSnapshot(to.self(), to.consensus.address, &raft.InstallSnapshotRequest{
		RPCHeader: g.header(), SnapshotVersion: meta.Version, Term: term, Leader: []byte(g.of.consensus.address),
		LastLogIndex: meta.Index, LastLogTerm: meta.Term, Size: meta.Size,
		Configuration: raft.EncodeConfiguration(meta.Configuration), ConfigurationIndex: meta.ConfigurationIndex,
	}, &answer, data)
	return answer, err
}

// handOver has a node stand for election at once.
func (g ghost) handOver(to *Node) {
	g.t.Helper()
	var answer raft.TimeoutNowResponse
	if err := g.transport.TimeoutNow(to.self(), to.consensus.address, &raft.TimeoutNowRequest{RPCHeader: g.header()}, &answer); err != nil {
		g.t.Fatal(err)
	}
}

// votes reports whether a node votes in a term for this one, whose log has that end.
func (g ghost) votes(who *Node, term uint64, end raft.Log) bool {
	g.t.Helper()
	var answer raft.RequestVoteResponse
	request := &raft.RequestVoteRequest{RPCHeader: g.header(), Term: term, LastLogIndex: end.Index, LastLogTerm: end.Term, LeadershipTransfer: true}
	if err := g.transport.RequestVote(who.self(), who.consensus.address, request, &answer); err != nil {
		g.t.Fatal(err)
	}
	return answer.Granted
}

// newestSnapshot returns the newest one of a node.
func newestSnapshot(t *testing.T, n *Node) (*raft.SnapshotMeta, io.ReadCloser) {
	t.Helper()
	list, err := n.consensus.snapshots.List()
	if err != nil || len(list) == 0 {
		t.Fatalf("%d snapshots, %v", len(list), err)
	}
	meta, data, err := n.consensus.snapshots.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { data.Close() })
	return meta, data
}

// lastEntry returns index and term of the newest entry in a node's log.
func lastEntry(t *testing.T, n *Node) (l raft.Log) {
	t.Helper()
	index, err := n.consensus.logs.LastIndex()
	if err == nil {
		err = n.consensus.logs.GetLog(index, &l)
	}
	if err != nil {
		t.Fatal(err)
	}
	return raft.Log{Index: l.Index, Term: l.Term}
}
