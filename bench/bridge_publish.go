package main

import (
	"context"
	"errors"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
)

// bridgePublish is the events a second that the publisher carries from a ring to a NATS
// server, until that has confirmed the last, as a part of what a bare connection does
// with the same messages.
var bridgePublish = &measure{
	name:    "bridge-publish",
	figures: []figure{{"bridge-publish", "ratio", atLeast(0.9)}},
	full:    size{samples: 11, count: 50_000},
	tiny:    size{samples: 2, count: 500},
	run: func(ctx context.Context, _ env, s size) ([]finding, error) {
		broker, err := startServer(nil)
		if err != nil {
			return nil, err
		}
		defer broker.Shutdown()
		var subjects nats.Subjects
		if err := subjects.Check(); err != nil {
			return nil, err
		}
		names := keys(keysPerWriter)
		event := func(i int, at time.Time) *fanout.Event {
			return &fanout.Event{
				Op: fanout.Put, Key: names[i%len(names)], Value: make([]byte, valueBytes),
				Revision: uint64(i) + 1, PrevRevision: uint64(max(0, i+1-len(names))), Time: at,
			}
		}
		bare := func() (float64, error) {
			conn, err := natsgo.Connect(broker.ClientURL())
			if err != nil {
				return 0, err
			}
			defer conn.Close()
			events := make([]*fanout.Event, s.count)
			for i := range events {
				events[i] = event(i, time.Now())
			}
			begun := time.Now()
			for _, e := range events {
				if err := conn.PublishMsg(subjects.EncodeEvent(e)); err != nil {
					return 0, err
				}
			}
			err = conn.FlushTimeout(remotePatience)
			return rate(s.count, time.Since(begun)), err
		}
		bridge := func() (float64, error) {
			conn, err := natsgo.Connect(broker.ClientURL(), nats.PublisherConn()...)
			if err != nil {
				return 0, err
			}
			defer conn.Close()
			ring, err := fanout.NewRing(fanout.RingOptions{})
			if err != nil {
				return 0, err
			}
			for i := range s.count {
				ring.Push(event(i, time.Now()))
			}
			ring.Flush()
			publisher, err := nats.NewPublisher(nats.PublisherOptions{Conn: conn, Ring: ring, Subjects: subjects, Cluster: "bench", Term: 1})
			if err != nil {
				return 0, err
			}
			ctx, cancel := context.WithCancel(ctx)
			var wg sync.WaitGroup
			begun := time.Now()
			wg.Go(func() { publisher.Run(ctx) }) // its only error is that it was stopped
			waiting, over := context.WithTimeoutCause(ctx, remotePatience, errors.New("the publisher does not come to an end"))
			err = publisher.WaitConfirmed(waiting, uint64(s.count))
			took := time.Since(begun)
			over()
			cancel()
			wg.Wait()
			return rate(s.count, took), err
		}
		rates, err := interleave(ctx, s.samples, bridge, bare)
		if err != nil {
			return nil, err
		}
		return []finding{{samples: ratios(rates[0], rates[1]), compare: map[string]float64{
			"events/s, publisher":       median(rates[0]),
			"events/s, bare connection": median(rates[1]),
		}}}, nil
	},
}
