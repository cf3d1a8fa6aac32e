package main

import (
	"context"
	"time"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
	"github.com/watchcast/watchcast/node"
)

// remoteFanout is the deliveries a second of changes of one key to 100 and 1,000
// watchers behind 8 connections over TCP: as a multiple of what etcd does, with writers
// over TCP; and as a part of what a NATS server alone does with the same message, which
// comes from within the process, as the node's writes do then.
var remoteFanout = &measure{
	name: "remote-fanout",
	figures: []figure{
		{"remote-fanout-100-etcd", "ratio", atLeast(2)},
		{"remote-fanout-100-nats", "ratio", atLeast(0.9)},
		{"remote-fanout-1000-etcd", "ratio", atLeast(2)},
		{"remote-fanout-1000-nats", "ratio", atLeast(0.9)},
	},
	full: size{samples: 7, count: 400_000},
	tiny: size{samples: 2, count: 2000},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		alone, err := startServer(nil)
		if err != nil {
			return nil, err
		}
		defer alone.Shutdown()
		core, hangUp, err := remoteCore(alone.ClientURL())
		if err != nil {
			return nil, err
		}
		defer hangUp()
		return besideEtcd(ctx, e, func(n *node.Node, ours, etcd remote) ([]finding, error) {
			within := ours
			within.put = func(ctx context.Context, value []byte) error {
				_, err := n.Put(ctx, remoteKey, value)
				return err
			}
			var found []finding
			for _, watchers := range []int{100, 1000} {
				pair, err := compareFanOut(ctx, s, watchers, ours, etcd, within, core)
				if err != nil {
					return nil, err
				}
				found = append(found, pair...)
			}
			return found, nil
		})
	},
}

// compareFanOut returns the rate of ours as a multiple of that of etcd, and the rate with
// writers within the process as a part of that of the server alone.
func compareFanOut(ctx context.Context, s size, watchers int, ours, etcd, within, core remote) ([]finding, error) {
	arm := func(r remote, putters int) func() (float64, error) {
		return func() (float64, error) { return r.fanOut(ctx, watchers, s.count/watchers, putters) }
	}
	rates, err := interleave(ctx, s.samples, arm(ours, writers), arm(etcd, writers), arm(within, writers), arm(core, 1))
	if err != nil {
		return nil, err
	}
	compare := map[string]float64{
		"deliveries/s, node":                 median(rates[0]),
		"deliveries/s, etcd":                 median(rates[1]),
		"deliveries/s, node, writers within": median(rates[2]),
		"deliveries/s, NATS server":          median(rates[3]),
	}
	return []finding{
		{samples: ratios(rates[0], rates[1]), compare: compare},
		{samples: ratios(rates[2], rates[3]), compare: compare},
	}, nil
}

// remoteCore is a NATS server that carries the messages that a node would publish, and
// nothing else.
func remoteCore(url string) (remote, func(), error) {
	conns, hangUp, err := dialMany(url, 1)
	if err != nil {
		return remote{}, nil, err
	}
	var subjects nats.Subjects
	if err := subjects.Check(); err != nil {
		hangUp()
		return remote{}, nil, err
	}
	revision := uint64(0)
	return remote{
		name: "NATS server",
		put: func(_ context.Context, value []byte) error { // by one goroutine
			revision++
			return conns[0].PublishMsg(subjects.EncodeEvent(&fanout.Event{
				Op: fanout.Put, Key: remoteKey, Value: value, Revision: revision, PrevRevision: revision - 1, Time: time.Now(),
			}))
		},
		watch: func(_ context.Context, watchers, connections int, received func([]byte)) (func(), error) {
			return subscribeMany(url, subjects.Event(remoteKey), watchers, connections, received)
		},
	}, hangUp, nil
}
