package node

import (
	"testing"

	"github.com/hashicorp/raft"
)

// pipelineTo is a pipeline to the node at an address, as Raft gets it.
func pipelineTo(t *testing.T, id raft.ServerID, address string) (raft.AppendPipeline, func(previous uint64) error) {
	t.Helper()
	c := &consensus{acks: newAcks(), acquainted: acquaintedAs(t, "n0")}
	transport, err := c.listen(&Config{ID: "n0", Raft: "127.0.0.1:0", Logger: testLogger(t)}, raftLogger(testLogger(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.stop() })
	p, err := transport.AppendEntriesPipeline(id, raft.ServerAddress(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("n0"), Addr: []byte("n0")}
	return p, func(previous uint64) error {
		_, err := p.AppendEntries(&raft.AppendEntriesRequest{RPCHeader: header, PrevLogEntry: previous}, new(raft.AppendEntriesResponse))
		return err
	}
}

// TestPipelineNobodyReads: a pipeline whose answers nobody takes, as Raft does after a
// refusal, blocks neither what is sent nor its end; and what is taken comes in order.
func TestPipelineNobodyReads(t *testing.T) {
	t.Parallel()
	const sent = 50
	n := founder(t)
	p, send := pipelineTo(t, n.self(), n.config.Raft)
	for i := range uint64(sent) {
		if err := within(t, "a request that the other refuses", func() error { return send(i) }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(sent) {
		f := within(t, "an answer", func() raft.AppendFuture { return <-p.Consumer() })
		if f.Request().PrevLogEntry != i || f.Response().Success || f.Response().Term == 0 {
			t.Fatalf("answer %d is %+v to %+v", i, f.Response(), f.Request())
		}
	}
	if err := within(t, "close", p.Close); err != nil {
		t.Fatal(err)
	}
}

// TestPipelineBound: two requests are under way at a time, not all that there is room
// for; a third waits for the answer to the first.
func TestPipelineBound(t *testing.T) {
	t.Parallel()
	n := founder(t)
	k := newLink(t, n.config.Raft)
	_, send := pipelineTo(t, n.self(), k.addr())
	if err := within(t, "a first request", func() error { return send(0) }); err != nil {
		t.Fatal(err)
	}
	k.hold(false, true) // its answer may be held, or be there
	sent := make(chan uint64, 3)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(3) {
			if send(i+1) != nil {
				return
			}
			sent <- i
		}
	}()
	eventually(t, "an answer is held", func() bool { return k.answersHeld() > 0 })
	select {
	case <-done:
		t.Fatal("nothing waits for answers")
	default:
	}
	if n := len(sent); n > 1 {
		t.Errorf("%d more were sent beside the one that is not answered", n)
	}
	k.hold(false, false)
	within(t, "the rest", func() struct{} { <-done; return struct{}{} })
	if len(sent) != 3 {
		t.Errorf("%d of 3 were sent in the end", len(sent))
	}
}
