package node

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

// wantExpiry waits for the Expire of a key that was asked for at a time with a time
// to live, and fails the test if it comes early. Other events must not come.
func wantExpiry(t *testing.T, w *fanout.Watcher, key string, asked time.Time, ttl time.Duration) {
	t.Helper()
	e := next(t, w)
	if e.Op != fanout.Expire || e.Key != key {
		t.Fatalf("received %v %s, want the expiry of %s", e.Op, e.Key, key)
	}
	if lived := time.Since(asked); lived < ttl {
		t.Fatalf("%s has lived for %v, want %v", key, lived, ttl)
	}
}

// TestTTL: a key with a time to live goes when it is up, for watchers in process and
// over NATS; until then everyone can see how long it has.
func TestTTL(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	n := lead(t, single(t))
	client := connect(t, n.NATSURL())
	subscribed := subscribe(t, client, ">")
	w := watch(t, n, ">")

	if _, err := n.Put(ctx, "long", nil, TTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	entry, err := n.Get(ctx, "long")
	if ttl, expires := n.Remaining(entry); err != nil || !expires || ttl > time.Hour || ttl < 59*time.Minute {
		t.Errorf("it lives still for %v, %v, %v; want an hour", ttl, expires, err)
	}
	reply := request(t, client, "kv.get.long", nil)
	if ttl, err := time.ParseDuration(reply.Header.Get(nats.HeaderTTL)); err != nil || ttl > time.Hour || ttl < 59*time.Minute {
		t.Errorf("over NATS it lives still for %v, %v; want an hour", ttl, err)
	}
	put(t, n, "ever", "")
	if reply := request(t, client, "kv.get.ever", nil); reply.Header.Get(nats.HeaderTTL) != "" {
		t.Errorf("a key without a time to live has %v", reply.Header)
	}

	const ttl = 150 * time.Millisecond
	asked := time.Now()
	revision, err := n.Put(ctx, "short", []byte("x"), TTL(ttl))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"long", "ever", "short"} {
		if e := next(t, w); e.Key != want {
			t.Fatalf("received %v %s, want %s", e.Op, e.Key, want)
		}
	}
	wantExpiry(t, w, "short", asked, ttl)
	if _, err := n.Get(ctx, "short"); !errors.Is(err, fsm.ErrNotFound) {
		t.Errorf("a key whose time is up: %v", err)
	}
	if e := subscribed.collect(4)[3]; e.Op != fanout.Expire || e.Key != "short" || e.PrevRevision != revision {
		t.Errorf("over NATS: %+v", e)
	}
	for what, err := range map[string]error{
		"negative": second(n.Put(ctx, "k", nil, TTL(-1))),
		"too long": second(n.Put(ctx, "k", nil, TTL(fsm.MaxTTL+1))),
		"a delete": second(n.Delete(ctx, "ever", TTL(1))),
	} {
		if !errors.Is(err, fsm.ErrBadTTL) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if reply := request(t, client, "kv.put.k", nil); reply.Header.Get(nats.HeaderRev) == "" {
		t.Errorf("a put: %v", reply.Header)
	}
}

func second[T any](_ T, err error) error { return err }

// TestManyExpireAtOnce: more keys than one command removes.
func TestManyExpireAtOnce(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	const batches = 5
	w := watch(t, n, "k.>", fanout.WithBuffer(2*batches*fsm.MaxBatch), fanout.WithOps(fanout.Expire))
	for b := range batches {
		ops := make([]Op, fsm.MaxBatch)
		for i := range ops {
			ops[i] = OpPut(fmt.Sprintf("k.%d.%d", b, i), nil, TTL(50*time.Millisecond))
		}
		if _, err := n.Batch(bounded(t), ops); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[string]bool)
	for range batches * fsm.MaxBatch {
		e := next(t, w)
		if e.Op != fanout.Expire || seen[e.Key] {
			t.Fatalf("%v %s", e.Op, e.Key)
		}
		seen[e.Key] = true
	}
}

// TestTTLSurvivesRestart, with and without a snapshot. The time in which there was
// no leader does not count.
func TestTTLSurvivesRestart(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]func(*testing.T, *Node){
		"log":      func(*testing.T, *Node) {},
		"snapshot": func(t *testing.T, n *Node) { keepNoLog(t, n); takeSnapshot(t, n) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const ttl = 2 * time.Second
			config := single(t)
			n := lead(t, config)
			asked := time.Now()
			for _, key := range []string{"a", "refreshed", "kept"} {
				if _, err := n.Put(bounded(t), key, nil, TTL(ttl)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := n.Put(bounded(t), "refreshed", nil, TTL(time.Hour)); err != nil {
				t.Fatal(err)
			}
			put(t, n, "kept", "")
			between(t, n)
			stop(t, n)
			n = lead(t, config)
			w := watch(t, n, ">")
			wantExpiry(t, w, "a", asked, ttl)
			put(t, n, "last", "")
			if e := next(t, w); e.Key != "last" {
				t.Errorf("received %v %s", e.Op, e.Key)
			}
		})
	}
}

// TestTTLSurvivesItsLeader: the next leader carries it out.
func TestTTLSurvivesItsLeader(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	const ttl = 3 * time.Second
	asked := time.Now()
	if _, err := leader.Put(bounded(t), "k", nil, TTL(ttl)); err != nil {
		t.Fatal(err)
	}
	var watchers []*fanout.Watcher
	for _, n := range others {
		watchers = append(watchers, watch(t, n, ">", fanout.WithOps(fanout.Expire)))
	}
	stop(t, leader)
	for _, w := range watchers {
		wantExpiry(t, w, "k", asked, ttl)
	}
}

// TestTick: while a key has a time to live the cluster's time is written down, so
// that the next leader does not begin far back; while none has, nothing is.
func TestTick(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.tick = 20 * time.Millisecond
	n := lead(t, config)
	before := put(t, n, "plain", "")
	began := time.Now()
	eventually(t, "some ticks have passed", func() bool { return time.Since(began) > 5*config.tick })
	if n.Revision() != before {
		t.Errorf("at revision %d after the last write, which was %d", n.Revision(), before)
	}
	if _, err := n.Put(bounded(t), "k", nil, TTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	first := n.machine.Time()
	eventually(t, "the time goes on", func() bool { return n.machine.Time() > first+10*config.tick })
	reached := n.machine.Time()
	stop(t, n)
	n = lead(t, config)
	if now := n.machine.Time(); now < reached {
		t.Errorf("after a restart it is %v, before it was %v", now, reached)
	}
}

// TestClockGoesOn: a leader counts from where the cluster's time stands, which may be
// far ahead of its own.
func TestClockGoesOn(t *testing.T) {
	t.Parallel()
	config := single(t)
	n := lead(t, config)
	e, _ := n.currentEpoch()
	ahead := &epoch{node: n, term: e.term}
	ahead.clock.set(time.Hour)
	if _, err := n.apply(ahead, fsm.Command{Op: fsm.CommandExpire}).Wait(); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	n = lead(t, config)
	w := watch(t, n, ">", fanout.WithOps(fanout.Expire))
	asked := time.Now()
	if _, err := n.Put(bounded(t), "k", nil, TTL(50*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	wantExpiry(t, w, "k", asked, 50*time.Millisecond)
}

// TestStampOfAnotherTerm: a write that was stamped before this node lost leadership
// and won it back is refused, and its clock moves nothing.
func TestStampOfAnotherTerm(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	e, _ := n.currentEpoch()
	older := &epoch{node: n, term: e.term - 1}
	older.clock.set(time.Hour)
	if _, err := n.backend(older).Write(nats.Operation{Key: "k", TTL: time.Minute}, "").Wait(); !errors.Is(err, &nats.Error{Code: nats.CodeUnavailable}) {
		t.Errorf("over NATS: %v", err)
	}
	if _, err := n.apply(older, fsm.Command{Op: fsm.CommandExpire}).Wait(); !errors.Is(err, ErrNotLeader) {
		t.Errorf("in process: %v", err)
	}
	if now := n.machine.Time(); now >= time.Hour {
		t.Errorf("the time is %v", now)
	}
}
