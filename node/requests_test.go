package node

import (
	"errors"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

// TestRequestRepeatedAtTheNextLeader is what a client does that has lost its answer
// together with the leader: the change is not made twice, and the answer is the first
// one, also where it was an error.
func TestRequestRepeatedAtTheNextLeader(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	leader, others := split(t, clusterOf(t, 3))
	made, err := leader.Put(ctx, "a", []byte("1"), IfRevision(0), RequestID("made"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leader.Delete(ctx, "b", RequestID("refused")); !errors.Is(err, fsm.ErrNotFound) {
		t.Fatal(err)
	}
	byNATS := &natsgo.Msg{Subject: "kv.put.c", Data: []byte("1"), Header: natsgo.Header{nats.HeaderRequestID: {"by NATS"}}}
	first, err := connect(t, leader.NATSURL()).RequestMsgWithContext(ctx, byNATS)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, leader)

	next := leaderAmong(t, others)
	put(t, next, "b", "")
	revision := next.Revision()
	if again, err := next.Put(ctx, "a", []byte("1"), IfRevision(0), RequestID("made")); err != nil || again != made {
		t.Errorf("repeated: revision %d, %v; at first %d", again, err, made)
	}
	if _, err := next.Delete(ctx, "b", RequestID("refused")); !errors.Is(err, fsm.ErrNotFound) {
		t.Errorf("repeated: %v; at first there was no such key", err)
	}
	if _, err := next.Batch(ctx, []Op{OpPut("a", nil)}, RequestID("made")); !errors.Is(err, fsm.ErrRequestReused) {
		t.Errorf("another request with the same id: %v", err)
	}
	byNATS.Reply = ""
	again, err := connect(t, next.NATSURL()).RequestMsgWithContext(ctx, byNATS)
	if err != nil || again.Header.Get(nats.HeaderRev) != first.Header.Get(nats.HeaderRev) {
		t.Errorf("repeated over NATS: %v, %v; at first %v", again, err, first.Header)
	}
	if e, err := next.Get(ctx, "a"); err != nil || e.Revision != made {
		t.Errorf("a is %+v, %v; want revision %d", e, err, made)
	}
	if e, err := next.Get(ctx, "b"); err != nil || e.Revision != revision {
		t.Errorf("b is %+v, %v; want revision %d", e, err, revision)
	}
}

// TestBadRequestID is refused before it costs a log entry.
func TestBadRequestID(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	before := n.Revision()
	long := string(make([]byte, fsm.MaxRequestIDBytes+1))
	if _, err := n.Put(bounded(t), "k", nil, RequestID(long)); !errors.Is(err, fsm.ErrBadRequestID) {
		t.Errorf("too long: %v", err)
	}
	if _, err := n.Batch(bounded(t), []Op{OpPut("k", nil, RequestID("x"))}); !errors.Is(err, fsm.ErrBadBatch) {
		t.Errorf("of an operation in a batch: %v", err)
	}
	if _, err := n.Batch(bounded(t), []Op{OpPut("k", nil)}, IfRevision(1)); !errors.Is(err, fsm.ErrBadBatch) {
		t.Errorf("a condition of a batch: %v", err)
	}
	if n.Revision() != before {
		t.Errorf("at revision %d, before at %d", n.Revision(), before)
	}
}
