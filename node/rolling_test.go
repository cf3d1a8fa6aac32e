package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// ensemble is a cluster whose nodes come and go, and who writes to it.
type ensemble struct {
	mu    sync.Mutex
	nodes []*Node
	acked map[string]uint64 // key to revision; the value is the key
}

func (c *ensemble) replace(old, new *Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, n := range c.nodes {
		if n == old {
			c.nodes[i] = new
		}
	}
}

func (c *ensemble) members() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Node(nil), c.nodes...)
}

// put writes a key once, by whoever leads, and remembers it if that was acknowledged.
func (c *ensemble) put(ctx context.Context, key string) bool {
	for _, n := range c.members() {
		once, cancel := context.WithTimeout(ctx, time.Second)
		revision, err := n.Put(once, key, []byte(key))
		cancel()
		if err == nil {
			c.mu.Lock()
			c.acked[key] = revision
			c.mu.Unlock()
			return true
		}
		if errors.Is(err, ErrUnknownOutcome) {
			return false
		}
	}
	return false
}

func (c *ensemble) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acked)
}

// TestRollingRestart restarts three nodes one after the other while clients write, each
// once the one before is ready: no acknowledged write is lost, and each restart costs
// one election at most, that of the hand-over.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const writers, between = 4, 100 // acknowledged writes before each restart
	// Elections are counted, so a busy machine that pauses must not cause one.
	patient := func(c *Config) { c.ElectionTimeout = 6 * time.Second }
	c := &ensemble{nodes: clusterOf(t, 3, patient), acked: make(map[string]uint64)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	for i := range writers {
		wg.Go(func() {
			for j := 0; ctx.Err() == nil; j++ {
				if !c.put(ctx, fmt.Sprintf("w%d.%d", i, j)) {
					pause(ctx, leaderPoll)
				}
			}
		})
	}
	for _, n := range c.members() {
		before := c.count()
		eventually(t, "writes are acknowledged", func() bool { return c.count() >= before+between })
		term := leaderAmong(t, c.members()).Status().Term
		config := n.config
		stop(t, n)
		again := start(t, config)
		c.replace(n, again)
		eventually(t, n.ID()+" is ready again", func() bool { return again.unready() == "" })
		if now := leaderAmong(t, c.members()).Status().Term; now > term+1 {
			t.Errorf("the restart of %s took the cluster from term %d to %d", n.ID(), term, now)
		}
	}
	before := c.count()
	eventually(t, "writes are acknowledged", func() bool { return c.count() >= before+between })
	cancel()
	wg.Wait()

	for _, n := range c.members() {
		for key, revision := range c.acked {
			e, err := n.Get(bounded(t), key, Stale(revision))
			if err != nil || string(e.Value) != key || e.Revision != revision {
				t.Fatalf("%s of %d acknowledged writes is %q at %d on %s, %v; want revision %d", key, len(c.acked), e.Value, e.Revision, n.ID(), err, revision)
			}
		}
	}
}

// TestStopHandsOver: when a leader has closed, another node is on its way to lead already. The
// others need not notice first that it is gone, for which they take six seconds here.
func TestStopHandsOver(t *testing.T) {
	t.Parallel()
	leader, others := split(t, clusterOf(t, 3, func(c *Config) { c.ElectionTimeout = 6 * time.Second }))
	put(t, leader, "k", "v")
	before := leader.Status().Term
	stop(t, leader)
	if after := max(others[0].Status().Term, others[1].Status().Term); after != before+1 {
		t.Errorf("behind the end of the leader of term %d the others are in term %d; want one more", before, after)
	}
}
