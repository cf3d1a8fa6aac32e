package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// bridge is a publisher at work: a ring, a connection through a proxy, a broker,
// and a listener that sits on the broker directly.
type bridge struct {
	t          testing.TB
	ctx        context.Context
	broker     *server.Server
	stopBroker func()
	proxy      *proxy
	ring       *fanout.Ring
	conn       *nats.Conn
	publisher  *Publisher
	heard      *listener
	revision   uint64 // of the newest event

	mu        sync.Mutex
	confirmed []uint64 // as the callback was told

	cancel context.CancelCauseFunc
	ended  chan struct{}
	err    error // of Run
}

type bridgeOptions struct {
	slots     int
	after     uint64
	lost      *Range
	broker    func(*server.Options)
	conn      []nats.Option // beside those of PublisherConn
	inProcess bool          // no proxy
	audience  *Audience
	lives     func(node string) bool
	pipes     func(nats.InProcessConnProvider) nats.InProcessConnProvider
}

var errOwnerStopped = errors.New("the owner stops the publisher")

const (
	testCluster = "cluster-1"
	testNode    = "n1"
	testTerm    = 7
)

func newBridge(t testing.TB, o bridgeOptions) *bridge {
	t.Helper()
	b := &bridge{t: t, ctx: testContext(t), revision: o.after}
	if o.broker == nil {
		o.broker = func(*server.Options) {}
	}
	b.broker, b.stopBroker = startBroker(t, o.broker)
	b.heard = listen(t, b.ctx, dial(t, b.broker.ClientURL()), checked(t), o.after)
	if o.lost != nil {
		b.heard.through = o.lost.From - 1
	}
	var err error
	if b.ring, err = fanout.NewRing(fanout.RingOptions{Slots: o.slots}); err != nil {
		t.Fatal(err)
	}
	options := append(PublisherConn(), nats.ReconnectJitter(0, 0))
	if o.inProcess {
		var pipes nats.InProcessConnProvider = b.broker
		if o.pipes != nil {
			pipes = o.pipes(pipes)
		}
		b.conn = dial(t, "", append(append(options, InProcess(pipes)), o.conn...)...)
	} else {
		b.proxy = startProxy(t, b.broker.Addr().String())
		b.conn = dial(t, b.proxy.url(), append(options, o.conn...)...)
	}
	b.publisher, err = NewPublisher(PublisherOptions{
		Conn:     b.conn,
		Ring:     b.ring,
		Cluster:  testCluster,
		Term:     testTerm,
		Node:     testNode,
		After:    o.after,
		Lost:     o.lost,
		Audience: o.audience,
		Lives:    o.lives,
		Safe: func(revision uint64) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.confirmed = append(b.confirmed, revision)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run starts the publisher; it ends with the test at the latest.
func (b *bridge) run() *bridge {
	var ctx context.Context
	ctx, b.cancel = context.WithCancelCause(context.Background())
	b.ended = make(chan struct{})
	go func() {
		defer close(b.ended)
		b.err = b.publisher.Run(ctx)
	}()
	b.t.Cleanup(func() {
		b.cancel(errOwnerStopped)
		receive(b.t, b.ctx, "Run has returned", b.ended)
	})
	return b
}

// event returns a change with the next revision.
func (b *bridge) event(value []byte) *fanout.Event {
	b.revision++
	return &fanout.Event{
		Op:       fanout.Put,
		Key:      fmt.Sprintf("key.%d", b.revision%100),
		Value:    value,
		Revision: b.revision,
		Time:     time.Unix(0, int64(b.revision)),
	}
}

// push publishes n changes to the ring, in batches.
func (b *bridge) push(n int) {
	for i := range n {
		b.ring.Push(b.event([]byte("value")))
		if i%64 == 63 || i == n-1 {
			b.ring.Flush()
		}
	}
}

func (b *bridge) waitConfirmed(revision uint64) {
	b.t.Helper()
	if err := b.publisher.WaitConfirmed(b.ctx, revision); err != nil {
		b.t.Fatalf("revision %d is not confirmed, only %d: %v", revision, b.publisher.Confirmed(), err)
	}
}

// waitPublished waits until everything was handed to the connection.
func (b *bridge) waitPublished() {
	b.t.Helper()
	eventually(b.t, b.ctx, "everything is handed to the connection", func() bool {
		return b.publisher.published.Load() == b.revision
	})
}

// wantRevisions compares what the listener received with from..to.
func (b *bridge) wantRevisions(got []uint64, from, to uint64) {
	b.t.Helper()
	var want []uint64
	for revision := from; revision <= to; revision++ {
		want = append(want, revision)
	}
	if !slices.Equal(got, want) {
		b.t.Fatalf("received %d revisions %v, want %d..%d", len(got), ends(got), from, to)
	}
}

// ends shortens a long list for a message.
func ends(list []uint64) []uint64 {
	if len(list) <= 10 {
		return list
	}
	return append(slices.Clone(list[:5]), list[len(list)-5:]...)
}

// wantConfirmedGrew checks what the callback was told, behind WaitConfirmed at the latest a moment
// later: all that is confirmed is safe while there are no others.
func (b *bridge) wantConfirmedGrew(last uint64) {
	b.t.Helper()
	told := func() []uint64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		return slices.Clone(b.confirmed)
	}
	eventually(b.t, b.ctx, "Confirmed is told of the last one", func() bool {
		list := told()
		return len(list) > 0 && list[len(list)-1] == last
	})
	if list := told(); !slices.IsSorted(list) {
		b.t.Fatalf("Confirmed was called with %v, want it to grow to %d", ends(list), last)
	}
}
