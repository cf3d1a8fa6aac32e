package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/nats"
)

// failover is the time from before the leader of three nodes is killed until plain
// subscribers at both other brokers have a change that somebody began to ask for when it
// was dead. Writers, one at each broker, go on all the while, each with a pause of 2 ms
// between two of its puts.
var failover = &measure{
	name:    "failover",
	figures: []figure{{"failover", "s", atMost(1)}},
	full:    size{samples: 15},
	tiny:    size{samples: 1},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		p, err := startProcesses(ctx, e.dir)
		if err != nil {
			return nil, err
		}
		defer p.stop()
		var samples []float64
		for range s.samples {
			took, err := p.failover(ctx)
			if err != nil {
				return nil, err
			}
			samples = append(samples, took.Seconds())
		}
		return []finding{{samples: samples, compare: map[string]float64{"p90": quantile(samples, 0.9), "max": quantile(samples, 1)}}}, nil
	},
}

const (
	failoverPause    = 2 * time.Millisecond
	failoverPatience = 30 * time.Second
)

// failover kills the leader, returns how long that was felt, and starts it again.
func (p *processes) failover(ctx context.Context) (time.Duration, error) {
	took, gone, err := p.killLeader(ctx)
	if err != nil {
		return 0, err
	}
	if err := gone.start(); err != nil {
		return 0, err
	}
	return took, gone.ready(ctx)
}

// killLeader returns how long that was felt, and who it was.
func (p *processes) killLeader(ctx context.Context) (took time.Duration, gone *member, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, failoverPatience, errors.New("no change arrives behind a killed leader"))
	defer cancel()
	var all closers
	defer func() { all.close() }()
	stop, err := p.write(ctx)
	if err != nil {
		return 0, nil, err
	}
	all.add(stop)
	var dead atomic.Int64 // since when, in ns, the leader is known to be; 0 for not yet
	type arrival struct {
		member *member
		at     time.Time
	}
	arrived := make(chan arrival, len(p.members))
	leads := make(chan string, 1)
	for _, m := range p.members {
		conns, hangUp, err := dialMany(m.nats, 1)
		if err != nil {
			return 0, nil, err
		}
		all.add(hangUp)
		done := false
		if _, err := conns[0].Subscribe("watch.>", func(msg *natsgo.Msg) {
			now, after := time.Now(), dead.Load()
			if begun, err := strconv.ParseInt(string(msg.Data), 10, 64); err == nil && after > 0 && begun > after && !done {
				done = true
				arrived <- arrival{m, now}
			}
		}); err != nil {
			return 0, nil, err
		}
		if _, err := conns[0].Subscribe("_watch.beacon", func(msg *natsgo.Msg) {
			if b, err := nats.DecodeBeacon(msg); err == nil {
				select {
				case leads <- b.Node:
				default:
				}
			}
		}); err != nil {
			return 0, nil, err
		}
		if err := conns[0].Flush(); err != nil {
			return 0, nil, err
		}
	}
	id, err := await(ctx, leads)
	if err != nil {
		return 0, nil, err
	}
	for _, m := range p.members {
		if m.id != id {
			continue
		}
		begun := time.Now()
		m.kill()
		m.wait()
		dead.Store(time.Now().UnixNano()) // what began before may have come from the old leader still
		var last time.Time
		for others := len(p.members) - 1; others > 0; {
			a, err := await(ctx, arrived)
			if err != nil {
				return 0, nil, err
			}
			if a.member != m {
				last, others = a.at, others-1
			}
		}
		return last.Sub(begun), m, nil
	}
	return 0, nil, fmt.Errorf("%q leads", id)
}

func await[T any](ctx context.Context, from <-chan T) (got T, err error) {
	select {
	case got = <-from:
		return got, nil
	case <-ctx.Done():
		return got, context.Cause(ctx)
	}
}

// write has a writer at each broker, which goes to another one if that is gone. The value
// of each put is when it was begun.
func (p *processes) write(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	all := closers{}
	defer func() {
		if err != nil {
			cancel()
			all.close()
		}
	}()
	for i, m := range p.members {
		urls := m.nats
		for _, other := range p.members {
			urls += "," + other.nats
		}
		conn, err := natsgo.Connect(urls, append(nats.ClientConn(), natsgo.DontRandomize())...)
		if err != nil {
			return nil, err
		}
		all.add(conn.Close)
		client, err := nats.NewClient(nats.ClientOptions{Conn: conn})
		if err != nil {
			return nil, err
		}
		all.add(client.Close)
		wg.Go(func() {
			pause := time.NewTicker(failoverPause)
			defer pause.Stop()
			for ctx.Err() == nil {
				// What fails is not to be counted; the next put is as good.
				client.Put(ctx, key(i), strconv.AppendInt(nil, time.Now().UnixNano(), 10))
				select {
				case <-pause.C:
				case <-ctx.Done():
				}
			}
		})
	}
	all.add(func() { cancel(); wg.Wait() })
	return all.close, nil
}
