package nats

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// heardLeader is a service whose beacons the test sends, and a client with a watch. The
// broker takes no long values, so that the leader cannot give one.
type heardLeader struct {
	t   *testing.T
	ctx context.Context
	*kv
	c    *Client
	w    *Watch
	beat *time.Ticker
	seq  uint64
}

func startHeardLeader(t *testing.T, verify time.Duration) *heardLeader {
	t.Helper()
	l := &heardLeader{t: t, ctx: testContext(t), beat: time.NewTicker(BeaconPeriod / 4)}
	t.Cleanup(l.beat.Stop)
	l.kv = startKV(t, newMapBackend(), func(o *server.Options) { o.MaxPayload = 4096 })
	var err error
	if l.c, err = NewClient(ClientOptions{Conn: dial(t, l.broker.ClientURL(), ClientConn()...), Verify: verify}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.c.Close)
	return l
}

func (l *heardLeader) watch() {
	l.t.Helper()
	var err error
	if l.w, err = l.c.Watch(l.ctx, ">", WatchOptions{}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *heardLeader) beacon() {
	l.t.Helper()
	l.seq++
	data, err := json.Marshal(Beacon{Cluster: "c", Term: 1, Node: "n", Seq: l.seq, After: l.seq - 1, Published: l.backend.Revision()})
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.client.Publish(l.c.o.Subjects.Beacon(), data); err != nil {
		l.t.Fatal(err)
	}
}

// write changes something, of which no event comes.
func (l *heardLeader) write(o Operation) {
	l.t.Helper()
	if _, err := l.backend.Write(o, "").Wait(); err != nil {
		l.t.Fatal(err)
	}
}

// next returns the next update.
func (l *heardLeader) next() Update {
	l.t.Helper()
	for {
		u, ok, err := l.w.take()
		if err != nil {
			l.t.Fatal(err)
		}
		if ok {
			return u
		}
		select {
		case <-l.w.ready:
		case <-l.beat.C:
			l.beacon()
		case <-l.ctx.Done():
			l.t.Fatal("no update comes")
		}
	}
}

// until returns the next update of a kind.
func (l *heardLeader) until(kind UpdateKind) Update {
	l.t.Helper()
	for {
		if u := l.next(); u.Kind == kind {
			return u
		}
	}
}

// TestWatchThatCannotCatchUpSaysSo: where the leader is heard, and cannot give what is
// missing, the watch is stale, with the reason, until it can.
func TestWatchThatCannotCatchUpSaysSo(t *testing.T) {
	l := startHeardLeader(t, 0)
	l.write(Operation{Key: "big", Value: make([]byte, 5000)})
	l.beacon()
	l.watch()
	if u := l.until(Stale); !strings.Contains(u.Cause, "413") {
		t.Errorf("it is stale because of %q", u.Cause)
	}
	l.write(Operation{Key: "big", Value: []byte("small")})
	if u := l.until(Changed); string(u.Event.Value) != "small" {
		t.Errorf("then comes %+v", u.Event)
	}
	l.until(Fresh)
}

// TestWatchThatCannotVerifySaysSo: it is so, too, where nothing but a verification would
// show that something is missing.
func TestWatchThatCannotVerifySaysSo(t *testing.T) {
	l := startHeardLeader(t, time.Second)
	l.write(Operation{Key: "small", Value: []byte("small")})
	l.beacon()
	l.watch()
	l.until(Synced)
	l.write(Operation{Key: "big", Value: make([]byte, 5000)})
	if u := l.until(Stale); !strings.Contains(u.Cause, "413") {
		t.Errorf("it is stale because of %q", u.Cause)
	}
	l.w.look()
	if n := l.w.Stats().Pending; n != 0 {
		t.Errorf("then comes %+v, though it cannot ask yet", l.next())
	}
	l.write(Operation{Key: "big", Value: []byte("medium")})
	if u := l.next(); u.Kind != Changed || string(u.Event.Value) != "medium" {
		t.Errorf("then comes %+v", u)
	}
	if u := l.next(); u.Kind != Fresh || u.Revision != l.backend.Revision() {
		t.Errorf("then comes %+v", u)
	}
}
