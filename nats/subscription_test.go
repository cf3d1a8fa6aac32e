package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// wire is a broker, a connection that publishes like a leader, and one that
// subscribes.
type wire struct {
	t        testing.TB
	ctx      context.Context
	s        Subjects
	leader   *nats.Conn
	watching *nats.Conn
}

func newWire(t testing.TB) *wire {
	t.Helper()
	broker, _ := startBroker(t)
	return &wire{t, testContext(t), checked(t), dial(t, broker.ClientURL()), dial(t, broker.ClientURL())}
}

func (w *wire) subscribe(patterns ...string) *Subscription {
	w.t.Helper()
	sub, err := Subscribe(w.watching, Subjects{}, patterns...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { sub.Close() })
	return sub
}

// change publishes a change of each key at a revision.
func (w *wire) change(revision uint64, keys ...string) {
	w.t.Helper()
	for i, key := range keys {
		e := &fanout.Event{Op: fanout.Put, Key: key, Revision: revision}
		if len(keys) > 1 {
			e.Batch, e.BatchSize = uint32(i), uint32(len(keys))
		}
		w.say(w.s.EncodeEvent(e))
	}
}

func (w *wire) say(m *nats.Msg) {
	w.t.Helper()
	if err := w.leader.PublishMsg(m); err != nil {
		w.t.Fatal(err)
	}
}

// want takes the next events and compares them, written as revision and key.
func (w *wire) want(sub *Subscription, events ...string) {
	w.t.Helper()
	for i, want := range events {
		e, err := sub.Next(w.ctx)
		if err != nil {
			w.t.Fatalf("event %d: %v, want %q", i, err, want)
		}
		got := fmt.Sprintf("%d %s", e.Revision, e.Key)
		if e.Op == fanout.Lagged {
			got = fmt.Sprintf("lost %d-%d", e.PrevRevision, e.Revision)
		}
		if got != want {
			w.t.Fatalf("event %d is %q, want %q", i, got, want)
		}
	}
}

func TestSubscribeChecksPatterns(t *testing.T) {
	w := newWire(t)
	for _, patterns := range [][]string{nil, {""}, {"a", "b.>.c"}, {"a*"}, {"a b"}, {"a..b"}, {"%zz"}, {".*"}, {">", "%41.*"}} {
		sub, err := Subscribe(w.watching, Subjects{}, patterns...)
		if !errors.Is(err, fanout.ErrBadPattern) || sub != nil {
			t.Errorf("%q: got %v, %v; want ErrBadPattern", patterns, sub, err)
		}
	}
	if _, err := Subscribe(w.watching, Subjects{Watch: ">"}, ">"); !errors.Is(err, fanout.ErrBadOption) {
		t.Errorf("a bad root: error is %v, want ErrBadOption", err)
	}
	if n := w.watching.NumSubscriptions(); n != 0 {
		t.Errorf("%d subscriptions are left of those that failed", n)
	}
	w.watching.Close()
	if _, err := Subscribe(w.watching, Subjects{}, ">"); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("a closed connection: error is %v", err)
	}
}

// However many patterns match a change, it comes once.
func TestSubscriptionOverlappingPatterns(t *testing.T) {
	w := newWire(t)
	sub := w.subscribe("a", "a", "*", ">", "a.*", "a.>", "a.b")
	w.change(1, "a")
	w.change(2, "a.b")
	w.change(3, "a", "a.b", "c", "a.b.c") // a batch
	w.change(4, "a")
	w.change(6, "a", "a.b")
	w.want(sub, "1 a", "2 a.b", "3 a", "3 a.b", "3 c", "3 a.b.c", "4 a", "6 a", "6 a.b")
	// A leader that took over says again what it does not know to be known.
	w.change(4, "a")
	w.change(6, "a", "a.b")
	w.change(7, "x.y")
	w.want(sub, "4 a", "6 a", "6 a.b", "7 x.y")
}

func TestSubscriptionPatternsAgreeWithKeys(t *testing.T) {
	w := newWire(t)
	sub := w.subscribe("*")
	w.change(1, "a.b")
	w.change(2, "..")  // one token, since its dots are escaped
	w.change(3, "a.*") // a key, no pattern
	w.change(4, "*")
	w.change(5, "a b")
	w.change(6, "end")
	w.want(sub, "2 ..", "4 *", "5 a b", "6 end")
}

// A loss that the leader announces is in its place, whatever the patterns, and
// repeats nothing.
func TestSubscriptionResetIsLagged(t *testing.T) {
	w := newWire(t)
	sub := w.subscribe("a", ">")
	w.change(1, "a")
	w.say(&nats.Msg{Subject: w.s.Reset(), Data: []byte(`{"cluster":"c","term":1,"from":2,"to":9}`)})
	w.say(&nats.Msg{Subject: w.s.Beacon(), Data: []byte(`{"published":9}`)})
	w.change(10, "a")
	w.want(sub, "1 a", "lost 2-9", "10 a")
	for range 2 { // said again: something else may have been read in between
		w.say(&nats.Msg{Subject: w.s.Reset(), Data: []byte(`{"from":2,"to":10}`)})
	}
	w.want(sub, "lost 2-10", "lost 2-10")
}

// One bad message is one error; what follows is not lost.
func TestSubscriptionMalformedMessage(t *testing.T) {
	w := newWire(t)
	sub := w.subscribe("a.>")
	w.change(1, "a.b")
	w.say(&nats.Msg{Subject: "watch.a.b", Data: []byte("no headers")})
	w.say(&nats.Msg{Subject: "watch.a.%zz", Data: []byte("no key")})
	w.say(&nats.Msg{Subject: w.s.Reset(), Data: []byte("no reset")})
	w.change(2, "a.b")
	w.want(sub, "1 a.b")
	for _, mention := range []string{HeaderOp, "%zz", "_watch.reset"} {
		if e, err := sub.Next(w.ctx); e != nil || err == nil || !strings.Contains(err.Error(), mention) {
			t.Fatalf("got %+v, %v; want an error that mentions %s", e, err, mention)
		}
	}
	w.want(sub, "2 a.b")
}

// Next ends with its context, and loses nothing by that.
func TestSubscriptionNextEndsWithContext(t *testing.T) {
	w := newWire(t)
	sub := w.subscribe(">")
	ctx, cancel := context.WithCancelCause(w.ctx)
	ended := make(chan error)
	go func() {
		_, err := sub.Next(ctx)
		ended <- err
	}()
	cancel(errOwnerStopped)
	if err := receive(t, w.ctx, "Next returns", ended); !errors.Is(err, errOwnerStopped) {
		t.Errorf("error is %v, want the cause of the context", err)
	}
	w.change(1, "a")
	w.want(sub, "1 a")
}

// Nothing comes after Close but what had come before.
func TestSubscriptionClose(t *testing.T) {
	w := newWire(t)
	sub, other := w.subscribe("a", ">"), w.subscribe(">")
	w.change(1, "a")
	w.want(other, "1 a")
	if err := sub.Close(); err != nil {
		t.Fatal(err)
	}
	w.change(2, "a")
	w.want(other, "2 a")
	w.want(sub, "1 a")
	if len(sub.messages) > 1 { // a copy of the first may be left
		t.Errorf("%d messages came after Close", len(sub.messages)-1)
	}
	w.watching.Close()
	if err := other.Close(); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Close on a closed connection: %v", err)
	}
}
