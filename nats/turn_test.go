package nats

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

// TestTurn: a watch asks when it is its turn, and tells its consumer if that takes long. It is
// the turn of others while it waits for its consumer, or ends.
func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := heldWatch(t, 2)
		others := turn{places: w.client.turns.usual}
		if err := others.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		due := make(chan task, 1)
		go func() {
			if k, is := w.await(t.Context()); is {
				due <- k
			}
		}()
		u, err := w.Next(t.Context())
		if err != nil || u.Kind != Stale {
			t.Fatalf("while it waits: %+v, %v", u, err)
		}
		w.raise(false) // another doubt, which the same answer resolves
		others.leave()
		k := <-due
		if k.doubts != 2 {
			t.Errorf("it resolves %d doubts", k.doubts)
		}
		if len(w.client.turns.usual) != 1 {
			t.Error("it asks and has no turn")
		}

		for i := range uint64(2) {
			w.push(item{Update: Update{Kind: Changed, Event: putAt(string('a'+rune(i)), i+1).event(known{})}})
		}
		went := make(chan error, 1)
		go func() { went <- w.room(t.Context(), k) }()
		synctest.Wait()
		if len(w.client.turns.usual) != 0 {
			t.Error("it waits for its consumer, and others for it")
		}
		if got := w.taken(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("the consumer takes %q", got)
		}
		if err := <-went; err != nil || len(w.client.turns.usual) != 1 {
			t.Errorf("behind that %d have a turn, %v", len(w.client.turns.usual), err)
		}
		w.turn.leave()
		w.turn.leave() // it has none
		if len(w.client.turns.usual) != 0 {
			t.Error("its turn does not end")
		}

		if err := others.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, is := w.await(ctx); is || w.turn.has != nil {
			t.Error("a watch that ends has a turn")
		}
	})
}

// TestUnansweredHoldUpNobody: where requests do not come through for the patterns of many
// watches, another watch of the client does not wait for them.
func TestUnansweredHoldUpNobody(t *testing.T) {
	const root = "served" // where what comes through is asked
	ctx := testContext(t)
	broker, _ := startBroker(t)
	service, err := StartService(newMapBackend(), ServiceOptions{Conn: dial(t, broker.ClientURL()), Version: "1.2.3", Subjects: Subjects{KV: root}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Stop)
	bridge := dial(t, broker.ClientURL())
	for _, op := range []string{".list.good", ".since.good"} {
		if _, err := bridge.Subscribe("kv"+op, func(m *nats.Msg) {
			if err := bridge.PublishRequest(root+op, m.Reply, m.Data); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, ctx, bridge)

	c, err := NewClient(ClientOptions{Conn: dial(t, broker.ClientURL(), ClientConn()...), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	watch := func(pattern string) *Watch {
		w, err := c.Watch(ctx, pattern, WatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for range 2 * maxTurns {
		watch("bad.*")
	}
	eventually(t, ctx, "those that got no answer are among themselves", func() bool {
		return len(c.turns.usual) == 0 && len(c.turns.late) == maxLateTurns
	})
	good := watch("good.*")
	for u, err := good.Next(ctx); u.Kind != Synced; u, err = good.Next(ctx) {
		if err != nil {
			t.Fatal(err)
		}
	}
}
