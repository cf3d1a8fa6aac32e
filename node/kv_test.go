package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/internal/freeport"
)

// TestPutGetDelete is the life of one key, as its writer and a watcher see it.
func TestPutGetDelete(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	n := lead(t, single(t))
	w := watch(t, n, "app.color")
	if _, err := n.Get(ctx, "app.color"); !errors.Is(err, fsm.ErrNotFound) {
		t.Fatalf("get before the first put: %v; want %v", err, fsm.ErrNotFound)
	}

	first := put(t, n, "app.color", "red")
	wantValue(t, n, "app.color", "red", first)
	second := put(t, n, "app.color", "blue")
	wantValue(t, n, "app.color", "blue", second)
	gone, err := n.Delete(ctx, "app.color")
	if err != nil {
		t.Fatal(err)
	}
	if !(first < second && second < gone) || n.Revision() != gone {
		t.Fatalf("revisions %d, %d, %d, and the node is at %d; want them to grow", first, second, gone, n.Revision())
	}
	if _, err := n.Get(ctx, "app.color"); !errors.Is(err, fsm.ErrNotFound) || !strings.Contains(err.Error(), `"app.color"`) {
		t.Fatalf("get of a deleted key: %v; want %v with its name", err, fsm.ErrNotFound)
	}
	if _, err := n.Delete(ctx, "app.color"); !errors.Is(err, fsm.ErrNotFound) {
		t.Fatalf("delete of a deleted key: %v; want %v", err, fsm.ErrNotFound)
	}
	again := put(t, n, "app.color", "")
	wantValue(t, n, "app.color", "", again)

	for _, want := range []fanout.Event{
		{Op: fanout.Put, Revision: first, Value: []byte("red")},
		{Op: fanout.Put, Revision: second, PrevRevision: first, Value: []byte("blue")},
		{Op: fanout.Delete, Revision: gone, PrevRevision: second},
		{Op: fanout.Put, Revision: again, PrevRevision: gone, Value: []byte{}},
	} {
		e := next(t, w)
		if e.Key != "app.color" || e.Op != want.Op || e.Revision != want.Revision || e.PrevRevision != want.PrevRevision || string(e.Value) != string(want.Value) {
			t.Fatalf("received %+v; want %+v", e, want)
		}
	}
}

func TestIfRevision(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	n := lead(t, single(t))
	w := watch(t, n, ">")
	conflict := func(what string, err error, at uint64) {
		t.Helper()
		var c *fsm.ConflictError
		if !errors.Is(err, fsm.ErrConflict) || !errors.As(err, &c) || c.Revision != at {
			t.Fatalf("%s: %v; want a conflict with revision %d", what, err, at)
		}
	}
	_, err := n.Put(ctx, "k", []byte("x"), IfRevision(7))
	conflict("put of a key that does not exist, if at 7", err, 0)
	first, err := n.Put(ctx, "k", []byte("x"), IfRevision(0))
	if err != nil {
		t.Fatalf("put if it does not exist: %v", err)
	}
	_, err = n.Put(ctx, "k", []byte("y"), IfRevision(0))
	conflict("put of an existing key if it does not exist", err, first)
	_, err = n.Delete(ctx, "k", IfRevision(first-1))
	conflict("delete if at an older revision", err, first)
	second, err := n.Put(ctx, "k", []byte("y"), IfRevision(first))
	if err != nil {
		t.Fatalf("put if at %d: %v", first, err)
	}
	wantValue(t, n, "k", "y", second)
	gone, err := n.Delete(ctx, "k", IfRevision(second))
	if err != nil {
		t.Fatalf("delete if at %d: %v", second, err)
	}
	for _, want := range []uint64{first, second, gone} {
		if e := next(t, w); e.Revision != want {
			t.Fatalf("received %+v; want revision %d: a refused write makes no event", e, want)
		}
	}
}

func TestRefusedWrites(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	config := single(t)
	config.MaxPayload = 64 << 10
	n := lead(t, config)
	limit := config.MaxPayload - valueHeadroom
	put(t, n, "k", strings.Repeat("x", limit))
	put(t, n, strings.Repeat("k", fanout.MaxKeyBytes), "x")
	before := n.Status()
	for _, c := range []struct {
		name, key string
		value     int
		want      error
	}{
		{"no key", "", 1, fanout.ErrBadKey},
		{"key too long", strings.Repeat("k", fanout.MaxKeyBytes+1), 1, fanout.ErrKeyTooLong},
		{"value too large", "k", limit + 1, fsm.ErrValueTooLarge},
	} {
		if _, err := n.Put(ctx, c.key, make([]byte, c.value)); !errors.Is(err, c.want) {
			t.Errorf("put, %s: %v; want %v", c.name, err, c.want)
		}
		if c.want == fsm.ErrValueTooLarge {
			continue
		}
		if _, err := n.Get(ctx, c.key); !errors.Is(err, c.want) {
			t.Errorf("get, %s: %v; want %v", c.name, err, c.want)
		}
		if _, err := n.Delete(ctx, c.key); !errors.Is(err, c.want) {
			t.Errorf("delete, %s: %v; want %v", c.name, err, c.want)
		}
	}
	if after := n.Status(); after.Revision != before.Revision || after.Keys != before.Keys {
		t.Errorf("refused writes took the node from revision %d with %d keys to %d with %d", before.Revision, before.Keys, after.Revision, after.Keys)
	}
}

// TestValueLimitIsTheClusters starts a node again with another payload limit:
// what counts is the one the cluster was founded with.
func TestValueLimitIsTheClusters(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.MaxPayload = 64 << 10
	stop(t, lead(t, config))
	config.MaxPayload = 1 << 20
	n := lead(t, config)
	before := n.Revision()
	if _, err := n.Put(bounded(t), "k", make([]byte, 64<<10)); !errors.Is(err, fsm.ErrValueTooLarge) {
		t.Fatalf("put over the cluster's limit: %v; want %v", err, fsm.ErrValueTooLarge)
	}
	if n.Revision() != before {
		t.Fatalf("a refused put took the revision from %d to %d", before, n.Revision())
	}
}

// TestLargestValueIsPublished holds that a message has room for all that goes
// with a value: the longest key, the headers.
func TestLargestValueIsPublished(t *testing.T) {
	t.Parallel()
	config := single(t)
	n := lead(t, config)
	published := subscribe(t, connect(t, n.NATSURL()), ">")
	key := strings.Repeat("\x00", fanout.MaxKeyBytes) // 3 KiB as a subject
	revision := put(t, n, key, strings.Repeat("x", 1<<20-valueHeadroom))
	events := published.seen(revision)
	if e := events[len(events)-1]; e.Key != key || len(e.Value) != 1<<20-valueHeadroom {
		t.Fatalf("received a value of %d bytes", len(e.Value))
	}
	published.noResets()
}

// TestPutRightAfterStart needs no WaitReady: writes and reads wait for the
// leader.
func TestPutRightAfterStart(t *testing.T) {
	t.Parallel()
	n := start(t, single(t))
	revision := put(t, n, "k", "v")
	wantValue(t, n, "k", "v", revision)
}

// TestDeadline gives writes a context that ends on the way: their outcome is unknown, or
// they were not begun, and Close leaves nothing behind.
func TestDeadline(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	cause := errors.New("not interested any more")
	for i := range 50 {
		ctx, cancel := context.WithCancelCause(context.Background())
		go cancel(cause)
		before := n.Revision()
		_, err := n.Put(ctx, fmt.Sprintf("key.%d", i), []byte("x"))
		if err != nil && !errors.Is(err, cause) {
			t.Fatalf("put: %v; want the context's cause", err)
		}
		if now := put(t, n, "other", "x"); err != nil && !errors.Is(err, ErrUnknownOutcome) && now != before+1 {
			t.Fatalf("the next change is %d, after %d and %v, which is no %v", now, before, err, ErrUnknownOutcome)
		}
		if _, err := n.Get(ctx, "k"); err != nil && !errors.Is(err, cause) && !errors.Is(err, fsm.ErrNotFound) {
			t.Fatalf("get: %v; want the context's cause", err)
		}
	}
	stop(t, n) // TestMain looks for goroutines
}

func TestDeadlineWithoutLeader(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.Raft = freeport.Address(t)
	config.Peers = map[string]string{DefaultID: config.Raft, "gone-1": freeport.Address(t), "gone-2": freeport.Address(t)}
	n := start(t, config)
	ctx, cancel := context.WithTimeoutCause(context.Background(), leaderPoll*3, errors.New("no time"))
	defer cancel()
	if _, err := n.Put(ctx, "k", nil); !errors.Is(err, ErrNoLeader) || !strings.Contains(err.Error(), "no time") {
		t.Errorf("put: %v; want %v with the cause", err, ErrNoLeader)
	}
	if _, err := n.Get(ctx, "k"); !errors.Is(err, ErrNoLeader) {
		t.Errorf("get: %v; want %v", err, ErrNoLeader)
	}
	if err := n.WaitReady(ctx); err == nil {
		t.Error("a node without a leader is ready")
	}
}

// TestWriteOfNobody: what is asked for with a context that has ended changes nothing.
func TestWriteOfNobody(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	before := n.Revision()
	for range 20 {
		if revision, err := n.Put(ctx, "k", nil); !errors.Is(err, gone) || errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("a put gives %d, %v; want %v, and that nothing was changed", revision, err, gone)
		}
	}
	if revision := put(t, n, "other", "v"); revision != before+1 {
		t.Errorf("the next change is %d, after %d", revision, before)
	}
}
