package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

// TestReadBesideRestore: a restore may begin between the proof that a node leads and the
// read. What that finds may be of a backup that only this node has yet, so it does not
// count; a stale read does.
func TestReadBesideRestore(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	n := lead(t, single(t))
	put(t, n, "k", "v")
	get := func() (int, error) {
		if err := n.gate.close(ctx); err != nil {
			t.Fatal(err)
		}
		return 1, nil
	}
	if v, err := read(ctx, n, nil, get); !errors.Is(err, ErrRestoring) || v != 0 {
		t.Errorf("read: %d, %v", v, err)
	}
	e, _ := n.currentEpoch()
	b := n.backend(e)
	var coded *nats.Error
	if _, err := b.Get("k"); !errors.As(err, &coded) || coded.Code != nats.CodeUnavailable {
		t.Errorf("get over NATS: %v", err)
	}
	every, err := fanout.PatternFilter(">")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.List(every); !errors.As(err, &coded) || coded.Code != nats.CodeUnavailable {
		t.Errorf("list over NATS: %v", err)
	}
	if revision, err := b.Stands(); !errors.As(err, &coded) || coded.Code != nats.CodeUnavailable || revision != 0 {
		t.Errorf("where it stands, over NATS: %d, %v", revision, err)
	}
	n.gate.open()
	var gone *nats.GoneError
	if _, err := b.Since(every, 1<<40); !errors.As(err, &gone) {
		t.Errorf("since over NATS, from what there is not: %v", err)
	}
	if v, err := read(ctx, n, []ReadOption{Stale(0)}, get); err != nil || v != 1 {
		t.Errorf("stale read: %d, %v", v, err)
	}
	n.gate.open()
}

// TestList lists what a pattern matches, at one revision, in key order, whatever is
// written while the listing is read.
func TestList(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	n := lead(t, single(t))
	for _, key := range []string{"app.b", "app.a", "app.a.deep", "other"} {
		put(t, n, key, "old")
	}
	l, err := n.List(ctx, "app.>")
	if err != nil {
		t.Fatal(err)
	}
	if l.Revision != n.Revision() {
		t.Errorf("the listing is of revision %d, the node at %d", l.Revision, n.Revision())
	}
	put(t, n, "app.a", "new")
	put(t, n, "app.aa", "new")
	var got []string
	for e := range l.Entries() {
		got = append(got, e.Key+" "+string(e.Value))
	}
	if want := []string{"app.a old", "app.a.deep old", "app.b old"}; !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	if _, err := n.List(ctx, "app.>.x"); !errors.Is(err, fanout.ErrBadPattern) {
		t.Errorf("a bad pattern: %v", err)
	}
}

// TestStaleReads: a follower, and a node whose cluster has no leader, answer with
// what they have; a minimum revision is waited for until the deadline.
func TestStaleReads(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	leader, others := split(t, clusterOf(t, 3))
	follower := others[0]
	revision := put(t, leader, "k", "v")
	e, err := follower.Get(ctx, "k", Stale(revision))
	if err != nil || string(e.Value) != "v" || e.Revision != revision {
		t.Fatalf("a stale read with the write's revision: %+v, %v", e, err)
	}
	if _, err := follower.Get(ctx, "k"); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a read of a follower: %v; want ErrNotLeader", err)
	}
	l, err := follower.List(ctx, ">", Stale(revision))
	if err != nil || l.Revision < revision {
		t.Errorf("a stale listing is of revision %d, %v; want %d at least", l.Revision, err, revision)
	}

	// Over NATS a request goes to any node.
	conn := connect(t, follower.NATSURL())
	message := natsgo.NewMsg("kv.stale.get.k")
	message.Header.Set(nats.HeaderMinRev, fmt.Sprint(revision))
	reply, err := conn.RequestMsgWithContext(ctx, message)
	if at, _ := revisionOf(reply); err != nil || at != revision || string(reply.Data) != "v" {
		t.Errorf("a stale read over NATS: %+v, %v", reply, err)
	}

	waiting := make(chan error, 1)
	go func() {
		_, err := follower.Get(ctx, "later", Stale(revision+1))
		waiting <- err
	}()
	put(t, leader, "later", "v")
	if err := <-waiting; err != nil {
		t.Errorf("a read that waits for the next revision: %v", err)
	}

	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_, err = follower.Get(short, "k", Stale(1<<40))
	if !errors.Is(err, ErrBehind) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a revision that does not come: %v; want ErrBehind", err)
	}

	stop(t, others[1])
	stop(t, leader)
	if e, err := follower.Get(ctx, "k", Stale(revision)); err != nil || string(e.Value) != "v" {
		t.Errorf("a stale read without a majority: %+v, %v", e, err)
	}
	eventually(t, "the node that is left answers stale reads over NATS", func() bool {
		// The broker may hand one to a node that has just gone.
		reply, err := conn.Request("kv.stale.get.k", nil, 100*time.Millisecond)
		return err == nil && string(reply.Data) == "v"
	})
	if _, err := follower.Get(ctx, "missing", Stale(0)); !errors.Is(err, fsm.ErrNotFound) {
		t.Errorf("a stale read of a missing key: %v", err)
	}
	closing := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		close(begun)
		_, err := follower.Get(context.Background(), "k", Stale(1<<40))
		closing <- err
	}()
	<-begun
	stop(t, follower)
	if err := <-closing; !errors.Is(err, ErrClosed) {
		t.Errorf("a stale read of a node that closes: %v; want ErrClosed", err)
	}
	if _, err := follower.Get(ctx, "k", Stale(0)); !errors.Is(err, ErrClosed) {
		t.Errorf("a stale read of a closed node: %v; want ErrClosed", err)
	}
}
