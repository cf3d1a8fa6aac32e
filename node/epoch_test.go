package node

import "testing"

// TestOneEpochATerm: no epoch begins while there is news of leadership that nobody has heard
// yet: the term that it saw may be that of the next one.
func TestOneEpochATerm(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	begins := func() bool {
		leads, err := (&epoch{node: n}).begin()
		if err != nil {
			t.Fatal(err)
		}
		return leads
	}
	n.epochMu.Lock() // which the end of an epoch needs
	n.consensus.leaders <- false
	n.consensus.leaders <- true
	eventually(t, "the end of an epoch is held up", func() bool { return len(n.consensus.leaders) == 1 })
	if begins() {
		t.Error("an epoch begins in the term of the next one")
	}
	n.epochMu.Unlock()
	eventually(t, "the news is heard", func() bool { return len(n.consensus.leaders) == 0 })
	put(t, n, "k", "v")
	if !begins() {
		t.Error("none begins when all has been heard")
	}
}
