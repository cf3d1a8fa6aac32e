package nats

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// TestPublisherSkipsWhatNobodyWants: an event that nobody subscribes to is not handed
// to the broker, and counts as published; whoever has subscribed, and has heard
// from the broker that he has, gets the next one, also by a pattern.
func TestPublisherSkipsWhatNobodyWants(t *testing.T) {
	ctx := testContext(t)
	broker, _ := startBroker(t)
	client := dial(t, broker.ClientURL())
	ring, err := fanout.NewRing(fanout.RingOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPublisher(PublisherOptions{
		Conn:     dial(t, "", append(PublisherConn(), InProcess(broker))...),
		Ring:     ring,
		Cluster:  testCluster,
		Term:     testTerm,
		Interest: broker.GlobalAccount().SubscriptionInterest,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &bridge{t: t, ctx: ctx, ring: ring, publisher: p}
	b.run()
	put := func(key string) {
		b.revision++
		ring.Push(&fanout.Event{Op: fanout.Put, Key: key, Revision: b.revision})
		ring.Flush()
	}
	for i := range 100 {
		put(fmt.Sprint("nobody.", i))
	}
	b.waitConfirmed(100)
	if p.Events() != 0 || p.Skipped() != 100 {
		t.Fatalf("%d events were published and %d skipped; nobody subscribes", p.Events(), p.Skipped())
	}
	const rounds = 300
	for i := range rounds {
		key := fmt.Sprintf("some.%d", i)
		messages := make(chan *nats.Msg, 1)
		sub, err := client.ChanSubscribe([]string{"watch." + key, "watch.some.*", "watch.>"}[i%3], messages)
		if err != nil {
			t.Fatal(err)
		}
		flush(t, ctx, client)
		put(key)
		if m := receive(t, ctx, "the event of "+key+" comes", messages); m.Subject != "watch."+key {
			t.Fatalf("%s came instead of %s", m.Subject, key)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
		flush(t, ctx, client)
	}
	b.waitConfirmed(b.revision)
	put("nobody")
	b.waitConfirmed(b.revision)
	if p.Events() != rounds || p.Skipped() != 101 {
		t.Errorf("%d events were published and %d skipped, want %d and 101", p.Events(), p.Skipped(), rounds)
	}
}
