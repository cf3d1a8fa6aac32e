package node

import (
	"fmt"
	"testing"
)

// TestCloseBesideSnapshot: nodes close at once though one is sending a snapshot to the other,
// which takes it slowly, or not at all any more.
func TestCloseBesideSnapshot(t *testing.T) {
	t.Parallel()
	for name, closes := range map[string]func(leader, behind *Node) *Node{
		"of who sends": func(leader, _ *Node) *Node { return leader },
		"of who takes": func(_, behind *Node) *Node { return behind },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const slow, sent = 64 << 10, 512 << 10 // the snapshot has 8 MB: Raft gives it a minute
			nodes, links := linked(t, 3)
			leader, others := split(t, nodes)
			for i := range 8 {
				put(t, leader, fmt.Sprint("k.", i), string(make([]byte, 1<<20-valueHeadroom)))
			}
			backup, _ := backupOf(t, leader)
			behind := others[0]
			way := links[behind.ID()]
			way.refuse(true)
			restoreInto(t, leader, backup)
			way.slow(slow, slow)
			came := func() int {
				way.mu.Lock()
				defer way.mu.Unlock()
				return way.recorded.Len()
			}
			before := came()
			way.refuse(false)
			eventually(t, "some of the snapshot has come", func() bool { return came() > before+sent })
			way.hold(true, false)
			stop(t, closes(leader, behind))
			way.heal()
		})
	}
}
