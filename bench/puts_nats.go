package main

import (
	"context"
	"errors"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/node"
)

// clientConns is how many connections 64 writers share, with each store.
const clientConns = 8

// putsNATS is the puts a second that a node does for 64 clients by NATS requests,
// each put on disk when it is answered, as a multiple of what etcd does by its own
// protocol.
var putsNATS = &measure{
	name:    "puts-nats",
	figures: []figure{{"puts-nats", "ratio", atLeast(5)}},
	full:    size{samples: 11, duration: 700 * time.Millisecond},
	tiny:    size{samples: 2, duration: 50 * time.Millisecond},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		n, stop, err := startNode(ctx, e.dir)
		if err != nil {
			return nil, err
		}
		defer stop()
		put, hangUp, err := natsPutter(n)
		if err != nil {
			return nil, err
		}
		defer hangUp()
		etcd, err := startEtcd(ctx, e.dir)
		if err != nil {
			return nil, err
		}
		defer etcd.stop()
		putEtcd, hangUpEtcd, err := etcd.putter(clientConns)
		if err != nil {
			return nil, err
		}
		defer hangUpEtcd()
		arm := func(put func(int) error) func() (float64, error) {
			return func() (float64, error) { return putRate(s.duration, put) }
		}
		puts, err := interleave(ctx, s.samples, arm(put), arm(putEtcd))
		if err != nil {
			return nil, err
		}
		return []finding{{samples: ratios(puts[0], puts[1]), compare: map[string]float64{
			"puts/s, node": median(puts[0]),
			"puts/s, etcd": median(puts[1]),
		}}}, nil
	},
}

// natsPutter puts as any NATS client would, over TCP.
func natsPutter(n *node.Node) (put func(key int) error, stop func(), err error) {
	var conns []*natsgo.Conn
	stop = func() {
		for _, c := range conns {
			c.Close()
		}
	}
	for range clientConns {
		c, err := natsgo.Connect(n.NATSURL())
		if err != nil {
			stop()
			return nil, nil, err
		}
		conns = append(conns, c)
	}
	subjects := keys(writers * keysPerWriter)
	for i := range subjects {
		subjects[i] = "kv.put." + subjects[i]
	}
	value := make([]byte, valueBytes)
	return func(key int) error {
		reply, err := conns[key%clientConns].Request(subjects[key], value, peerStart)
		if err == nil && reply.Header.Get("Nats-Service-Error") != "" {
			err = errors.New(reply.Header.Get("Nats-Service-Error"))
		}
		return err
	}, stop, nil
}
