package node

import (
	"bytes"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
)

// TestRestoreKeepsTimeToLive: a key has as much left of its time as when the backup
// was taken, in a cluster whose time stands far ahead of that, or far behind.
func TestRestoreKeepsTimeToLive(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	for name, c := range map[string]struct{ from, into time.Duration }{
		"ahead": {0, time.Hour}, "behind": {time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := func(now time.Duration) *Node {
				config := single(t)
				config.tick = time.Hour // which would set right what the restore does not
				n := lead(t, config)
				e, _ := n.currentEpoch()
				if now > 0 {
					e.clock.set(now)
					if _, err := n.apply(e, fsm.Command{Op: fsm.CommandExpire}).Wait(); err != nil {
						t.Fatal(err)
					}
				}
				return n
			}
			from, into := at(c.from), at(c.into)
			if _, err := from.Put(bounded(t), "k", nil, TTL(ttl)); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if _, err := from.Backup(bounded(t), &b); err != nil {
				t.Fatal(err)
			}
			w := watch(t, into, ">", fanout.WithOps(fanout.Expire))
			restored := time.Now()
			if _, err := into.Restore(bounded(t), &b); err != nil {
				t.Fatal(err)
			}
			if e := next(t, w); e.Op != fanout.Reset {
				t.Fatalf("received %v, want a reset", e.Op)
			}
			if e := next(t, w); e.Op != fanout.Expire || e.Key != "k" {
				t.Fatalf("received %v %s", e.Op, e.Key)
			}
			// The put is the last stamp in the backup, so all of its time is left.
			if lived := time.Since(restored); lived < ttl {
				t.Errorf("it has lived for %v after the restore", lived)
			}
		})
	}
}
