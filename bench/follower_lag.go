package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/node"
)

// followerLag is how much later than the leader's own a follower's in-process watcher
// receives a change, the 99th percentile, while nothing else is written: a follower
// learns that an entry is committed with the next message of the leader.
var followerLag = &measure{
	name:    "follower-lag",
	figures: []figure{{"follower-lag", "ms", atMost(10)}},
	full:    size{samples: 5, count: 300},
	tiny:    size{samples: 2, count: 5},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		c, err := startTrio(ctx, e.dir)
		if err != nil {
			return nil, err
		}
		defer c.stop()
		lags, err := interleave(ctx, s.samples, func() ([]float64, error) { return c.lag(ctx, s.count) })
		if err != nil {
			return nil, err
		}
		var p99, p50 []float64
		for _, sample := range lags[0] {
			p99 = append(p99, quantile(sample, 0.99))
			p50 = append(p50, quantile(sample, 0.5))
		}
		return []finding{{samples: p99, compare: map[string]float64{"p50": median(p50)}}}, nil
	},
}

// trio is three nodes of one cluster in this process, with their files on the disk.
type trio struct {
	leader    *node.Node
	followers []*node.Node
	stop      func()
}

const trioElection = time.Second // one that a busy machine does not set off

func startTrio(ctx context.Context, dir string) (_ *trio, err error) {
	data, err := os.MkdirTemp(dir, "watchcast-bench-")
	if err != nil {
		return nil, err
	}
	c := &trio{stop: func() { os.RemoveAll(data) }}
	defer func() {
		if err != nil {
			c.stop()
			err = fmt.Errorf("start three nodes: %w", err)
		}
	}()
	peers := make(map[string]string)
	addrs, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	for i, addr := range addrs {
		peers[fmt.Sprintf("n%d", i+1)] = addr
	}
	var nodes []*node.Node
	for id, addr := range peers {
		n, err := node.Start(ctx, node.Config{
			ID: id, DataDir: filepath.Join(data, id), NATS: "127.0.0.1:0", HTTP: node.Off,
			Raft: addr, Peers: peers, ElectionTimeout: trioElection,
		})
		if err != nil {
			return nil, err
		}
		before := c.stop
		c.stop = func() { n.Close(); before() } // what it did not publish is of no interest
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		if err := n.WaitReady(ctx); err != nil {
			return nil, err
		}
		if n.Leader() == n.ID() {
			c.leader = n
		} else {
			c.followers = append(c.followers, n)
		}
	}
	if c.leader == nil || len(c.followers) != 2 {
		return nil, errors.New("they do not agree on a leader")
	}
	return c, nil
}

// received is when a watcher had a change, or why it did not.
type received struct {
	at  time.Time
	err error
}

// lag puts a key so many times, with a pause of 10 to 30 ms before each, and returns
// how much later than the leader's watcher each follower's had it, in ms.
func (c *trio) lag(ctx context.Context, count int) ([]float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make([]<-chan received, 0, 3)
	for _, n := range append([]*node.Node{c.leader}, c.followers...) {
		w, err := n.WatchKey(ctx, key(0), fanout.WithBuffer(count))
		if err != nil {
			return nil, err
		}
		times := make(chan received, count)
		watched = append(watched, times)
		go func() { // ends with ctx, or when it has all
			for range count {
				_, err := w.Next(ctx)
				times <- received{time.Now(), err}
			}
		}()
	}
	value := make([]byte, valueBytes)
	var lags []float64
	for range count {
		pause := time.NewTimer(10*time.Millisecond + rand.N(20*time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if _, err := c.leader.Put(ctx, key(0), value); err != nil {
			return nil, err
		}
		var leader time.Time
		for i, times := range watched {
			r := <-times
			if r.err != nil {
				return nil, r.err
			}
			if i == 0 {
				leader = r.at
				continue
			}
			lags = append(lags, max(r.at.Sub(leader), time.Microsecond).Seconds()*1e3)
		}
	}
	return lags, nil
}
