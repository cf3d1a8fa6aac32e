package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// heldWatch is a watch without a connection: the test is its network, and its goroutine.
func heldWatch(t *testing.T, room int) *Watch {
	t.Helper()
	o := ClientOptions{Logger: slog.New(slog.DiscardHandler), Verify: time.Hour}
	if err := o.Subjects.Check(); err != nil {
		t.Fatal(err)
	}
	c := &Client{o: o, watches: make(map[*Watch]struct{}), turns: turns{usual: make(chan struct{}, 1), late: make(chan struct{}, 1)}}
	c.pulse = newPulse(c)
	return &Watch{
		client: c, pattern: ">", o: WatchOptions{MaxKeys: 1000}, view: newView(false), cancel: func() {},
		backlog: backlog{maxItems: room, maxBytes: 1 << 20},
		alarm:   make(chan struct{}, 1), ready: make(chan struct{}, 1), turn: turn{places: c.turns.usual}, doubts: 1,
	}
}

func putAt(key string, revision uint64) Change {
	return Change{Op: fanout.Put, Key: key, Revision: revision}
}

// taken takes all that is there, and returns the keys of puts, the others' kinds.
func (w *Watch) taken() (all []string) {
	for {
		u, ok, _ := w.take()
		switch {
		case !ok:
			return all
		case u.Kind == Changed && u.Event.Op == fanout.Put:
			all = append(all, u.Event.Key)
		case u.Kind == Changed:
			all = append(all, u.Event.Op.String()+" "+u.Event.Key)
		default:
			all = append(all, u.Kind.String())
		}
	}
}

func wantTaken(t *testing.T, w *Watch, want ...string) {
	t.Helper()
	got := w.taken()
	if len(got) != len(want) {
		t.Fatalf("the consumer takes %q; want %q", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("the consumer takes %q; want %q", got, want)
		}
	}
}

// TestNothingIsAskedForBehind: a consumer may fall behind while its watch waits for its turn
// among many to ask the leader. It asks when the consumer is back: until then what comes is
// dropped, so that it would be up to date without it.
func TestNothingIsAskedForBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := heldWatch(t, 4)
		w.doubts, w.healed, w.spread = 2, 1, true
		due := make(chan bool, 1)
		ask := func() {
			_, is := w.await(t.Context())
			due <- is
		}
		go ask()
		synctest.Wait()
		for i := range uint64(5) {
			w.receive(w.client.o.Subjects.EncodeEvent(&fanout.Event{Op: fanout.Put, Key: string('a' + rune(i)), Revision: i + 1, Time: time.Now()}))
		}
		if !w.behind {
			t.Fatal("the consumer is not behind")
		}
		if <-due {
			t.Error("it asks though the consumer is behind")
		}
		w.taken()
		ask()
		if !<-due {
			t.Error("it does not ask though the consumer is back")
		}
	})
}

// TestTakenBackWhileCatchingUp: what was asked for before the backlog was taken back is
// void, though the consumer has come meanwhile: it does not cover what was taken back.
func TestTakenBackWhileCatchingUp(t *testing.T) {
	w := heldWatch(t, 4)
	task, _ := w.task(time.Now())
	if err := w.begin(task); err != nil {
		t.Fatal(err)
	}
	for i, key := range []string{"a", "b", "c", "d"} {
		if _, err := w.applyOne(task, putAt(key, uint64(6+i)), 20); err != nil {
			t.Fatal(err)
		}
	}
	w.receive(w.client.o.Subjects.EncodeEvent(&fanout.Event{Op: fanout.Put, Key: "x", Revision: 21, Time: time.Now()}))
	wantTaken(t, w, "stale")
	if _, err := w.applyOne(task, putAt("e", 10), 20); !errors.Is(err, errBehind) {
		t.Errorf("the rest of the answer is taken: %v", err)
	}
	if _, err := w.unlist(context.Background(), task, 20); err != nil {
		t.Error(err)
	}
	w.caughtUp(task, 20, 0)
	wantTaken(t, w)
	again, due := w.task(time.Now())
	if !due || !again.list {
		t.Errorf("the watch is to list again; its task is %+v, %v", again, due)
	}
}

// TestNoRoomForSynced: what cannot be said for want of room is said later.
func TestNoRoomForSynced(t *testing.T) {
	w := heldWatch(t, 2)
	task, _ := w.task(time.Now())
	if err := w.begin(task); err != nil {
		t.Fatal(err)
	}
	for i, key := range []string{"a", "b"} {
		if _, err := w.applyOne(task, putAt(key, uint64(6+i)), 20); err != nil {
			t.Fatal(err)
		}
	}
	w.caughtUp(task, 20, 2)
	wantTaken(t, w, "a", "b", "synced")
}

// TestSilenceOvertaken: a beacon comes while the watches are being told that none does.
func TestSilenceOvertaken(t *testing.T) {
	w := heldWatch(t, 100)
	p := w.client.pulse
	now := time.Now()
	p.hear(Beacon{Cluster: "c", Term: 1, Seq: 1}, now)
	p.mu.Lock()
	p.silent = true
	p.mu.Unlock()
	d, _ := p.hear(Beacon{Cluster: "c", Term: 1, Seq: 2, After: 1}, now)
	w.doubt(d)
	w.fall("nothing is heard of the leader")
	w.sub = &nats.Subscription{}
	w.look()
	task, due := w.task(now)
	if !due {
		t.Fatal("the watch does not catch up")
	}
	w.caughtUp(task, 5, 0)
	wantTaken(t, w, "stale", "synced", "fresh")
}

// TestDeletedKeysAreBounded: however many keys were deleted since the last verification, a
// watch of few goes on. What it remembers of the others is bounded, and what comes late of
// one that was forgotten, by itself or in an answer, does not bring it back.
func TestDeletedKeysAreBounded(t *testing.T) {
	w := heldWatch(t, 10)
	before, _ := w.task(time.Now())
	if err := w.begin(before); err != nil {
		t.Fatal(err)
	}
	key := func(i uint64) string { return fmt.Sprintf("k%d", i) }
	event := func(op fanout.Op, i, revision, previous uint64) {
		w.receive(w.client.o.Subjects.EncodeEvent(&fanout.Event{Op: op, Key: key(i), Revision: revision, PrevRevision: previous, Time: time.Now()}))
	}
	for i := range uint64(2 * keptDead) {
		w.view.set(key(i), known{revision: 2*i + 2})
	}
	const last = 2 * keptDead
	event(fanout.Put, last, 2*last+1, 0)
	event(fanout.Delete, last, 2*last+2, 2*last+1)
	wantTaken(t, w, key(last), "delete "+key(last))
	if w.err != nil {
		t.Fatalf("the watch has ended: %v", w.err)
	}
	if n := len(w.view.dead); n > 2*keptDead {
		t.Errorf("%d deleted keys are remembered", n)
	}
	event(fanout.Put, 0, 1, 0)
	wantTaken(t, w)
	if _, err := w.applyOne(before, putAt(key(0), 1), 1); !errors.Is(err, errBehind) {
		t.Errorf("an answer from before is taken: %v", err)
	}
	again, due := w.task(time.Now())
	if !due {
		t.Fatal("the watch does not catch up")
	}
	w.caughtUp(again, 2*last+2, 0)
	if n := w.Stats().Keys; n != 0 {
		t.Errorf("%d keys are remembered when it has", n)
	}
	for i := range uint64(w.o.MaxKeys + 1) {
		event(fanout.Put, i, 3*last+i, 0)
		w.taken()
	}
	if again, due = w.task(time.Now()); !due {
		t.Fatal("a watch of too many living keys does not ask whether they are")
	}
	w.caughtUp(again, 4*last, 0)
	if !errors.Is(w.err, ErrTooManyKeys) {
		t.Errorf("a watch of too many living keys: %v", w.err)
	}
}

// forUser starts a broker for a user who may do what is listed, and for one who may do
// everything.
func forUser(t *testing.T, publish, subscribe []string, options ...nats.Option) (c *Client, all *nats.Conn) {
	t.Helper()
	broker, _ := startBroker(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "all", Password: "x"},
			{Username: "some", Password: "x", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe}}},
		}
	})
	c, err := NewClient(ClientOptions{Conn: dial(t, broker.ClientURL(), slices.Concat(ClientConn(), []nats.Option{nats.UserInfo("some", "x")}, options)...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, dial(t, broker.ClientURL(), nats.UserInfo("all", "x"))
}

// TestClientPermissions: a user that may only hear events has a raw watch all the same, and
// one that may not hear them is told.
func TestClientPermissions(t *testing.T) {
	ctx := testContext(t)
	c, all := forUser(t, []string{"nothing"}, []string{"watch.app.>", "_watch.>", "_INBOX.>"})
	w, err := c.Watch(ctx, "app.>", WatchOptions{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := all.PublishMsg(c.o.Subjects.EncodeEvent(&fanout.Event{Op: fanout.Put, Key: "app.k", Revision: 5, Time: time.Now()})); err != nil {
		t.Fatal(err)
	}
	if u, err := w.Next(ctx); err != nil || u.Kind != Changed || u.Event.Revision != 5 {
		t.Errorf("the first update is %+v, %v", u, err)
	}
	eventually(t, ctx, "it has asked where the store stands", func() bool { return w.Stats().CatchUps > 0 })
	if err := w.Err(); err != nil {
		t.Errorf("the watch has ended: %v", err)
	}
	if _, err := c.Watch(ctx, "other.>", WatchOptions{Raw: true}); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a watch of what may not be heard: %v", err)
	}
	if _, err := c.Put(ctx, "app.k", nil); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a put that is not allowed: %v", err)
	}
}

// TestAnswersThatMayNotBeHeard: who may ask, and not hear answers where the client has them
// come, is told so, and does not ask for ever. A raw watch needs none.
func TestAnswersThatMayNotBeHeard(t *testing.T) {
	ctx := testContext(t)
	c, _ := forUser(t, []string{"kv.>"}, []string{"watch.>", "_watch.>", "_INBOX_own.>"})
	healing, err := c.Watch(ctx, ">", WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = healing.Next(ctx)
	}
	if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "inbox prefix") {
		t.Errorf("the watch ends with %v", err)
	}
	raw, err := c.Watch(ctx, ">", WatchOptions{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "it has asked where the store stands", func() bool { return raw.Stats().CatchUps > 0 })
	if err := raw.Err(); err != nil {
		t.Errorf("the raw watch has ended: %v", err)
	}
}

// TestPermissionsOfTheOtherKind: a subject that may not be published on may be heard, and
// one that may not be heard may be asked, though the broker's last word was about it.
func TestPermissionsOfTheOtherKind(t *testing.T) {
	ctx := testContext(t)
	c, _ := forUser(t, []string{"kv.>"}, []string{"watch.>", "_watch.>", "_INBOX.>"})
	conn := c.o.Conn
	refused := func() bool { return errors.Is(conn.LastError(), nats.ErrPermissionViolation) }
	if err := conn.Publish("watch.k", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "the publish is refused", refused)
	if _, err := c.Watch(ctx, "k", WatchOptions{Raw: true}); err != nil {
		t.Errorf("a watch of what may be heard: %v", err)
	}

	c, all := forUser(t, []string{"kv.>"}, []string{"_INBOX.>"})
	conn = c.o.Conn
	if _, err := conn.SubscribeSync("kv.get.k"); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "the subscription is refused", refused)
	asked := 0
	if _, err := all.Subscribe("kv.get.k", func(m *nats.Msg) {
		if asked++; asked > 1 { // the first one is left without an answer
			m.RespondMsg(&nats.Msg{Header: nats.Header{HeaderRev: {"7"}}})
		}
	}); err != nil {
		t.Fatal(err)
	}
	flush(t, ctx, all)
	if e, err := c.Get(ctx, "k"); err != nil || e.Revision != 7 {
		t.Errorf("a get of what may be asked: %+v, %v", e, err)
	}
}

// TestCanceledWrite: who gives up a write that is on its way does not know what became of
// it.
func TestCanceledWrite(t *testing.T) {
	ctx := testContext(t)
	c, all := forUser(t, []string{">"}, []string{">"})
	received := make(chan struct{}, 16)
	if _, err := all.Subscribe("kv.put.k", func(*nats.Msg) { received <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	flush(t, ctx, all)
	giveUp, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		<-received
		stop()
	}()
	if _, err := c.Put(giveUp, "k", nil); !errors.Is(err, &Error{Code: CodeUnknown}) || !errors.Is(err, context.Canceled) {
		t.Errorf("a write that was given up: %v", err)
	}
}

// TestNothingGoesOutLate: a write that fails while there is no connection is not sent when
// there is one again.
func TestNothingGoesOutLate(t *testing.T) {
	ctx := testContext(t)
	broker, _ := startBroker(t)
	p := startProxy(t, broker.Addr().String())
	conn := dial(t, p.url(), ClientConn()...)
	c, err := NewClient(ClientOptions{Conn: conn, Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	watcher := dial(t, broker.ClientURL())
	sub, err := watcher.SubscribeSync("kv.put.>")
	if err != nil {
		t.Fatal(err)
	}
	flush(t, ctx, watcher)
	p.refuse()
	eventually(t, ctx, "the client is cut off", func() bool { return !conn.IsConnected() })
	if _, err := c.Put(context.Background(), "late", nil); !errors.Is(err, &Error{Code: CodeUnavailable}) {
		t.Errorf("a put without a connection: %v", err)
	}
	p.allow()
	eventually(t, ctx, "the client is back", conn.IsConnected)
	flush(t, ctx, conn)
	if err := watcher.Publish("kv.put.end", nil); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsgWithContext(ctx); err != nil || m.Subject != "kv.put.end" {
		t.Errorf("received %v, %v", m, err)
	}
}
