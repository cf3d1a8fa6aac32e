package node

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
)

// TestRestoreIntoCluster restores on the leader of three nodes that many write to:
// what is acknowledged afterwards is there, on every node, and what was acknowledged
// before is not; every node's watchers and every broker's subscribers hear of it.
func TestRestoreIntoCluster(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	put(t, leader, "in.backup", "v")
	backup, _ := backupOf(t, leader)
	put(t, leader, "not.in.backup", "v")
	var watchers []*fanout.Watcher
	var streams []*stream
	for _, n := range nodes {
		watchers = append(watchers, watch(t, n, ">", fanout.WithBuffer(1<<12)))
		streams = append(streams, subscribe(t, connect(t, n.NATSURL()), ">"))
	}
	meet(t, nodes, streams, nil)

	const writers, each = 8, 30 // acknowledged writes after the restore
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		acked = make(map[string]uint64)
		warm  = make(chan struct{}, writers)
		done  = make(chan struct{})
	)
	for i := range writers {
		conn := connect(t, others[i%len(others)].NATSURL())
		wg.Go(func() {
			for j, left := 0, each; left > 0; j++ {
				select {
				case <-done:
					left--
				default:
				}
				key := fmt.Sprintf("w%d.%d", i, j)
				var revision uint64
				var err error
				if i < writers/2 {
					revision, err = leader.Put(bounded(t), key, []byte(key))
				} else {
					revision, err = tryPut(bounded(t), conn, key, key)
				}
				switch {
				case err == nil:
					mu.Lock()
					acked[key] = revision
					mu.Unlock()
				case !errors.Is(err, ErrRestoring) && !strings.Contains(err.Error(), "503"):
					t.Errorf("put %s: %v; want it to be refused at most", key, err)
					return
				}
				if j == 20 {
					warm <- struct{}{}
				}
			}
		})
	}
	for range writers {
		within(t, "the first writes", func() struct{} { return <-warm })
	}
	r := restoreInto(t, leader, backup)
	close(done)
	wg.Wait()
	if t.Failed() {
		return
	}
	before, after := 0, 0
	for key, revision := range acked {
		if revision < r.Revision {
			before++
			if _, err := leader.Get(bounded(t), key); !errors.Is(err, fsm.ErrNotFound) {
				t.Errorf("%s of before the restore, at %d, is still there: %v", key, revision, err)
			}
			continue
		}
		after++
		wantValue(t, leader, key, key, revision)
	}
	if before == 0 || after < writers*each/2 {
		t.Fatalf("%d writes were acknowledged before the restore and %d after", before, after)
	}
	last := put(t, leader, "last", "")
	sameState(t, nodes)
	for i, n := range nodes {
		wantReset(t, watchers[i], r.Revision)
		for revision := r.Revision; revision != last; {
			e := next(t, watchers[i])
			if e.Control() || e.Revision <= revision {
				t.Fatalf("the watcher on %s received %+v after %d", n.ID(), e, revision)
			}
			revision = e.Revision
		}
		streams[i].seen(last)
		// What was not published yet when the restore came may be told first.
		if lost := streams[i].losses(); len(lost) == 0 || len(lost) > 2 || lost[len(lost)-1].To != r.Revision || lost[0].To > r.Revision {
			t.Errorf("resets at %s are %+v; want one up to %d", n.ID(), lost, r.Revision)
		}
		eventually(t, "the node knows that all is announced", func() bool {
			a, _ := n.announced.get()
			return a.Revision == last && n.unready() == ""
		})
	}
	if _, err := others[0].Restore(bounded(t), bytes.NewReader(backup)); !errors.Is(err, ErrNotLeader) || !strings.Contains(err.Error(), leader.ID()) {
		t.Errorf("restore on a follower: %v; want the leader's name", err)
	}
}
