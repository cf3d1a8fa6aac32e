package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// TestMajorityLost leaves one node of three, once the leader and once another:
// writes fail within their deadlines, and say that there is no leader; stale reads
// go on, over both ways in; watchers stay. When the others are back writes go on,
// the watchers see them, and nothing that was acknowledged is lost.
func TestMajorityLost(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"the leader is left", "a follower is left"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			nodes := clusterOf(t, 3)
			left, others := split(t, nodes)
			acknowledged := make(map[string]uint64)
			for i := range 50 {
				key := fmt.Sprint("k", i)
				acknowledged[key] = put(t, left, key, key)
			}
			last := acknowledged["k49"]
			if who == "a follower is left" {
				left, others[0] = others[0], left
			}
			if _, err := left.Get(bounded(t), "k49", Stale(last)); err != nil {
				t.Fatal(err)
			}
			w := watch(t, left, ">", fanout.WithBuffer(fanout.MaxBuffer))
			conn := connect(t, left.NATSURL())
			for _, n := range others {
				stop(t, n)
			}

			eventually(t, "writes fail for want of a leader", func() bool {
				err := hastyPut(t, left)
				if err == nil {
					t.Fatal("a write without a majority is acknowledged")
				}
				return errors.Is(err, ErrNoLeader)
			})
			eventually(t, "requests hear that nobody leads", func() bool {
				_, err := conn.Request("kv.put.hasty", nil, time.Second)
				return errors.Is(err, natsgo.ErrNoResponders)
			})
			if e, err := left.Get(bounded(t), "k49", Stale(last)); err != nil || e.Revision != last {
				t.Errorf("a stale read: revision %d, %v; want %d", e.Revision, err, last)
			}
			eventually(t, "stale reads over NATS", func() bool { // its broker may not know yet that the others are gone
				reply, err := conn.Request("kv.stale.get.k49", nil, time.Second)
				return err == nil && string(reply.Data) == "k49"
			})
			if e, ok := w.TryNext(); ok || w.Err() != nil {
				t.Errorf("the watcher received %+v, %v", e, w.Err())
			}

			for _, n := range others {
				c := n.config
				eventually(t, "the ports of "+c.ID+" are free", func() bool {
					again, err := Start(bounded(t), c)
					if errors.Is(err, ErrListen) {
						return false
					}
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { stop(t, again) })
					nodes = append(nodes, again)
					return true
				})
			}
			var revision uint64
			eventually(t, "writes go on", func() bool {
				reply, err := conn.Request("kv.put.after", []byte("x"), time.Second)
				if err == nil {
					revision, err = revisionOf(reply)
				}
				return err == nil
			})
			for e := next(t, w); e.Key != "after"; e = next(t, w) {
				if e.Control() || e.Key != "hasty" {
					t.Fatalf("the watcher received %+v; want only what was under way, and what came after", e)
				}
			}
			for key, at := range acknowledged {
				for _, n := range append(nodes[3:], left) {
					if e, err := n.Get(bounded(t), key, Stale(revision)); err != nil || e.Revision != at || string(e.Value) != key {
						t.Fatalf("the acknowledged write of %s at %d is lost on %s: %q at %d, %v", key, at, n.ID(), e.Value, e.Revision, err)
					}
				}
			}
		})
	}
}

// hastyPut writes with a short deadline, and fails the test if that is not kept.
func hastyPut(t *testing.T, n *Node) error {
	t.Helper()
	const deadline, late = 300 * time.Millisecond, 5 * time.Second // for a test machine that pauses
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	begun := time.Now()
	err := within(t, "a write with a deadline", func() error {
		_, err := n.Put(ctx, "hasty", nil)
		return err
	})
	if took := time.Since(begun); took > deadline+late {
		t.Errorf("a write with a deadline of %v took %v", deadline, took)
	}
	return err
}
