package nats

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// TestWatchThatCannotCatchUpSaysSo: where the leader is heard, and cannot give what is
// missing, the watch is stale, with the reason, until it can.
func TestWatchThatCannotCatchUpSaysSo(t *testing.T) {
	ctx := testContext(t)
	k := startKV(t, newMapBackend(), func(o *server.Options) { o.MaxPayload = 4096 })
	c, err := NewClient(ClientOptions{Conn: dial(t, k.broker.ClientURL(), ClientConn()...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	beat := time.NewTicker(BeaconPeriod / 4)
	defer beat.Stop()
	seq, resets := uint64(0), uint64(0)
	beacon := func() {
		seq++
		data, err := json.Marshal(Beacon{Cluster: "c", Term: 1, Node: "n", Seq: seq, After: seq - 1, Published: k.backend.Revision(), Resets: resets})
		if err != nil {
			t.Fatal(err)
		}
		if err := k.client.Publish(c.o.Subjects.Beacon(), data); err != nil {
			t.Fatal(err)
		}
	}
	var w *Watch
	until := func(kind UpdateKind) Update {
		t.Helper()
		for {
			for u, ok, _ := w.take(); ok; u, ok, _ = w.take() {
				if u.Kind == kind {
					return u
				}
			}
			select {
			case <-beat.C:
				beacon()
			case <-ctx.Done():
				t.Fatalf("no %v", kind)
			}
		}
	}
	write := func(o Operation) {
		t.Helper()
		if _, err := k.backend.Write(o, "").Wait(); err != nil {
			t.Fatal(err)
		}
	}
	write(Operation{Key: "big", Value: make([]byte, 5000)})
	beacon()
	if w, err = c.Watch(ctx, ">", WatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if u := until(Stale); !strings.Contains(u.Cause, "413") {
		t.Errorf("it is stale because of %q", u.Cause)
	}
	write(Operation{Key: "big", Value: []byte("small")})
	if u := until(Changed); string(u.Event.Value) != "small" {
		t.Errorf("then comes %+v", u.Event)
	}
	until(Fresh)
}
