package node

import "testing"

// TestUnderWay: as many writes as surely find room in Raft's queue need no timeout; more do
// until some have been answered.
func TestUnderWay(t *testing.T) {
	var u underWay
	for i := range freeWrites {
		if timeout := u.enter(); timeout != 0 {
			t.Fatalf("write %d of %d has a timeout", i+1, freeWrites)
		}
	}
	if u.enter() != enqueueTimeout {
		t.Error("one more has no timeout")
	}
	u.leave()
	u.leave()
	if u.enter() != 0 {
		t.Error("when two were answered, one has a timeout")
	}
}

// TestWritesLeave: what was answered, whatever the answer, is not under way any more.
func TestWritesLeave(t *testing.T) {
	n := lead(t, single(t))
	e, err := n.lead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := e.underWay.writes.Load()
	for i := range 2 * freeWrites {
		if _, err := n.CompareAndSet(t.Context(), "k", uint64(i%2*1_000_000), []byte("v")); i > 0 && err == nil {
			t.Fatal("a condition that does not hold was met")
		}
	}
	if after := e.underWay.writes.Load(); after != before {
		t.Errorf("%d writes are under way, %d before", after, before)
	}
}

// TestPutAllocatesNoCommand: without options a command stays on the stack.
func TestPutAllocatesNoCommand(t *testing.T) {
	value := []byte("v")
	if n := testing.AllocsPerRun(100, func() { OpPut("k", value) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
