package main

import (
	"context"
	"errors"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

// clientConns is how many connections 64 writers share, with each store.
const clientConns = 8

// putsNATS is the puts a second that a node does for 64 clients by NATS requests,
// each put on disk when it is answered, as a multiple of what etcd does by its own
// protocol. Beside it: as many requests to a service that stores nothing, and puts by the
// embedded API, which tell what the two halves of a put cost.
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
		put, hangUp, err := natsPutter(n.NATSURL())
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
		floor, stopFloor, err := remoteService(false)
		if err != nil {
			return nil, err
		}
		defer stopFloor()
		ask, hangUpFloor, err := natsPutter(floor.url)
		if err != nil {
			return nil, err
		}
		defer hangUpFloor()
		arm := func(put func(int) error) func() (float64, error) {
			return func() (float64, error) { return putRate(s.duration, put) }
		}
		puts, err := interleave(ctx, s.samples, arm(put), arm(putEtcd), arm(ask), arm(putter(n)))
		if err != nil {
			return nil, err
		}
		return []finding{{samples: ratios(puts[0], puts[1]), compare: map[string]float64{
			"puts/s, node":           median(puts[0]),
			"puts/s, etcd":           median(puts[1]),
			"requests/s, NATS alone": median(puts[2]),
			"puts/s, node, embedded": median(puts[3]),
		}}}, nil
	},
}

// natsPutter puts as any NATS client would, over TCP.
func natsPutter(url string) (put func(key int) error, stop func(), err error) {
	var conns []*natsgo.Conn
	stop = func() {
		for _, c := range conns {
			c.Close()
		}
	}
	for range clientConns {
		c, err := natsgo.Connect(url)
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
