package main

import (
	"context"
	"fmt"
	"os"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/node"
)

// remoteLatency is the time from before a put over TCP until a watcher behind another
// connection has the change, the median, with every put on disk, as a part of what it is
// with etcd.
var remoteLatency = &measure{
	name:    "remote-latency",
	figures: []figure{{"remote-latency", "ratio", atMost(0.5)}},
	full:    size{samples: 11, count: 500},
	tiny:    size{samples: 2, count: 5},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		return besideEtcd(ctx, e, func(_ *node.Node, ours, etcd remote) ([]finding, error) { return compareLatency(ctx, s, ours, etcd) })
	},
}

// remoteLatencyMemory is the same with nothing on disk, as a part of what it is with a
// key-value bucket of JetStream in memory.
var remoteLatencyMemory = &measure{
	name:    "remote-latency-memory",
	figures: []figure{{"remote-latency-memory", "ratio", atMost(1)}},
	full:    size{samples: 11, count: 1000},
	tiny:    size{samples: 2, count: 5},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		n, err := node.Start(ctx, node.Config{InMemory: true, NATS: "127.0.0.1:0", HTTP: node.Off})
		if err != nil {
			return nil, err
		}
		defer n.Close()
		if err := n.WaitReady(ctx); err != nil {
			return nil, err
		}
		conn, err := natsgo.Connect(n.NATSURL())
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		dir, err := os.MkdirTemp(e.dir, "watchcast-bench-jetstream-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		s2, err := startServer(func(o *server.Options) { o.JetStream, o.StoreDir = true, dir })
		if err != nil {
			return nil, err
		}
		defer s2.Shutdown()
		kv, hangUp, err := remoteJetStream(s2.ClientURL())
		if err != nil {
			return nil, err
		}
		defer hangUp()
		return compareLatency(ctx, s, remoteNode(n.NATSURL(), conn), kv)
	},
}

// compareLatency also takes the latency of a service that stores nothing, to tell what a
// store could save.
func compareLatency(ctx context.Context, s size, ours, peer remote) ([]finding, error) {
	floor, stop, err := remoteService(true)
	if err != nil {
		return nil, err
	}
	defer stop()
	arms := []remote{ours, peer, floor}
	var runs []func() ([]float64, error)
	for _, r := range arms {
		runs = append(runs, func() ([]float64, error) { return r.latency(ctx, s.count) })
	}
	samples, err := interleave(ctx, s.samples, runs...)
	if err != nil {
		return nil, err
	}
	at := func(arm int, q float64) []float64 {
		values := make([]float64, len(samples[arm]))
		for i, one := range samples[arm] {
			values[i] = quantile(one, q)
		}
		return values
	}
	compare := make(map[string]float64)
	for i, r := range arms {
		compare[fmt.Sprintf("p50, %s, µs", r.name)] = median(at(i, 0.5))
		compare[fmt.Sprintf("p99, %s, µs", r.name)] = median(at(i, 0.99))
	}
	return []finding{{samples: ratios(at(0, 0.5), at(1, 0.5)), compare: compare}}, nil
}

// remoteJetStream is a key-value bucket in memory.
func remoteJetStream(url string) (remote, func(), error) {
	conns, hangUp, err := dialMany(url, 1)
	if err != nil {
		return remote{}, nil, err
	}
	js, err := conns[0].JetStream()
	if err != nil {
		hangUp()
		return remote{}, nil, err
	}
	bucket, err := js.CreateKeyValue(&natsgo.KeyValueConfig{Bucket: "bench", Storage: natsgo.MemoryStorage})
	if err != nil {
		hangUp()
		return remote{}, nil, err
	}
	return remote{
		name: "JetStream KV",
		put: func(_ context.Context, value []byte) error {
			_, err := bucket.Put(remoteKey, value)
			return err
		},
		watch: func(_ context.Context, watchers, connections int, received func([]byte)) (func(), error) {
			conns, stop, err := dialMany(url, connections)
			if err != nil {
				return nil, err
			}
			all := closers{stop}
			for i := range watchers {
				js, err := conns[i%connections].JetStream()
				if err != nil {
					all.close()
					return nil, err
				}
				kv, err := js.KeyValue("bench")
				if err != nil {
					all.close()
					return nil, err
				}
				w, err := kv.Watch(remoteKey, natsgo.UpdatesOnly())
				if err != nil {
					all.close()
					return nil, err
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					for u := range w.Updates() {
						if u != nil {
							received(u.Value())
						}
					}
				}()
				all.add(func() { w.Stop(); <-done })
			}
			return all.close, nil
		},
	}, hangUp, nil
}
