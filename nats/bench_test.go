package nats

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// BenchmarkPublish compares the way through ring and publisher with bare calls
// of the client library, in one run and by turns: the same messages, on
// connections of the same kind, until the broker has them all.
//
//   - bare-ns/event: PublishMsg of messages made before
//   - encode-ns/event: EncodeEvent and PublishMsg, in one loop
//   - publisher-ns/event: Push, Flush for each 64, and the publisher
//   - ratio: throughput of the publisher over that of bare calls
//   - ratio-encode: the same over that of the loop that also encodes
func BenchmarkPublish(b *testing.B) {
	for _, inProcess := range []bool{false, true} {
		for _, size := range []int{16, 1024} {
			kind := "tcp"
			if inProcess {
				kind = "in-process"
			}
			b.Run(fmt.Sprintf("%s/%dB", kind, size), func(b *testing.B) { benchmarkPublish(b, inProcess, size) })
		}
	}
}

func benchmarkPublish(b *testing.B, inProcess bool, size int) {
	const chunk = 8192
	s, ctx := checked(b), context.Background()
	broker, _ := startBroker(b)
	connect := func() *nats.Conn {
		options := PublisherConn()
		if inProcess {
			options = append(options, InProcess(broker))
		}
		return dial(b, broker.ClientURL(), options...)
	}
	ring, err := fanout.NewRing(fanout.RingOptions{})
	if err != nil {
		b.Fatal(err)
	}
	publisher, err := NewPublisher(PublisherOptions{Conn: connect(), Ring: ring})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		publisher.Run(ctx)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	bare := connect()

	value := make([]byte, size)
	now := time.Now()
	events := make([]*fanout.Event, chunk)
	messages := make([]*nats.Msg, chunk)
	revision := uint64(0)
	prepare := func() { // an event goes into a ring once
		for i := range events {
			revision++
			events[i] = &fanout.Event{
				Op: fanout.Put, Key: fmt.Sprintf("app.%d.config", i%1000), Value: value,
				Revision: revision, PrevRevision: revision - 1, Time: now,
			}
			messages[i] = s.EncodeEvent(events[i])
		}
	}
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	ways := []func(){
		func() {
			for _, m := range messages {
				must(bare.PublishMsg(m))
			}
			must(bare.Flush())
		},
		func() {
			for _, e := range events {
				must(bare.PublishMsg(s.EncodeEvent(e)))
			}
			must(bare.Flush())
		},
		func() {
			for i, e := range events {
				ring.Push(e)
				if i%64 == 63 {
					ring.Flush()
				}
			}
			must(publisher.WaitConfirmed(ctx, revision))
		},
	}
	var took [3]time.Duration
	for b.Loop() {
		prepare()
		for i, way := range ways {
			began := time.Now()
			way()
			took[i] += time.Since(began)
		}
	}
	if publisher.Events() != uint64(b.N)*chunk {
		b.Fatalf("%d events were published, want %d", publisher.Events(), b.N*chunk)
	}
	for i, unit := range []string{"bare-ns/event", "encode-ns/event", "publisher-ns/event"} {
		b.ReportMetric(float64(took[i].Nanoseconds())/float64(b.N*chunk), unit)
	}
	b.ReportMetric(took[0].Seconds()/took[2].Seconds(), "ratio")
	b.ReportMetric(took[1].Seconds()/took[2].Seconds(), "ratio-encode")
	b.ReportMetric(0, "ns/op")
}
