package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/internal/freeport"
	"github.com/watchcast/watchcast/nats"
)

// TestClientWatchState: a watch begins with what is there, and goes on with what changes.
func TestClientWatchState(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	churn(t, n, 200, 50)
	put(t, n, "other", "x")
	m := mirrorOf(t, client(t, n.NATSURL()), "k.>", nats.WatchOptions{})
	m.equals("at the beginning", state(t, n, "k.>"))
	eventually(t, "the watch says that this is all", func() bool { return m.told(nats.Synced) == 1 })
	churn(t, n, 200, 50)
	m.equals("behind the beginning", state(t, n, "k.>"))
	if s := m.w.Stats(); s.Losses > 0 {
		t.Errorf("nothing was lost, and the watch counts %+v", s)
	}
	m.w.Stop()
	if _, err := m.w.Next(bounded(t)); !errors.Is(err, nats.ErrStopped) {
		t.Errorf("next behind the end: %v", err)
	}
}

// TestClientWatchCut: while a client is cut off, keys come, change and go. The watch says
// that it is out of date within two beacons, and makes up for all of it.
func TestClientWatchCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cut  func(*link)
		heal func(*link)
	}{
		{"the connection breaks", func(k *link) { k.cut() }, func(*link) {}},
		{"the network stands still", func(k *link) { k.hold(true, true) }, func(k *link) { k.hold(false, false) }},
		{"what the broker says does not arrive", func(k *link) { k.hold(false, true) }, func(k *link) { k.hold(false, false) }},
		{"the network vanishes for good", func(k *link) { k.hold(true, true) }, func(k *link) { k.hold(false, false); k.cut() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := lead(t, single(t))
			churn(t, n, 100, 30)
			k := newLink(t, strings.TrimPrefix(n.NATSURL(), "nats://"))
			m := mirrorOf(t, client(t, k.url()), ">", nats.WatchOptions{})
			m.equals("at the beginning", state(t, n, ">"))
			eventually(t, "the watch has begun", func() bool { return m.told(nats.Synced) == 1 })
			c.cut(k)
			churn(t, n, 100, 30)
			if c.name != "the connection breaks" {
				eventually(t, "the watch is stale", func() bool { return m.told(nats.Stale) == 1 })
			}
			churn(t, n, 20, 30)
			c.heal(k)
			m.equals("behind the cut", state(t, n, ">"))
			eventually(t, "the watch is fresh", func() bool { return m.told(nats.Stale) == m.told(nats.Fresh) })
			put(t, n, "last", "x")
			m.equals("later", state(t, n, ">"))
		})
	}
}

// TestClientWatchLossy: a network that loses one event in ten. What is lost before
// another change of its key is found with that, and the rest by verification.
func TestClientWatchLossy(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	var lost atomic.Int64
	p := newLossy(t, strings.TrimPrefix(n.NATSURL(), "nats://"), func(subject string) bool {
		if !strings.HasPrefix(subject, "watch.") || rand.N(10) > 0 {
			return false
		}
		lost.Add(1)
		return true
	})
	c := client(t, p.url(), func(o *nats.ClientOptions) { o.Verify = 2 * time.Second })
	m := mirrorOf(t, c, ">", nats.WatchOptions{})
	churn(t, n, 3000, 100)
	m.equals("behind the losses", state(t, n, ">"))
	s := m.w.Stats()
	if lost.Load() == 0 || s.Losses == 0 || s.Healed == 0 {
		t.Errorf("%d events were lost on the way, and the watch counts %+v", lost.Load(), s)
	}
}

// TestClientWatchLosesTheLast: nothing but verification finds the last change of a key,
// and the next one does.
func TestClientWatchLosesTheLast(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	var lose atomic.Bool
	p := newLossy(t, strings.TrimPrefix(n.NATSURL(), "nats://"), func(subject string) bool {
		return lose.Load() && strings.HasPrefix(subject, "watch.")
	})
	const (
		interval = time.Second
		atMost   = interval + interval/5 + 5*time.Second // with the answer, on a machine that has much else to do
	)
	c := client(t, p.url(), func(o *nats.ClientOptions) { o.Verify = interval })
	m := mirrorOf(t, c, ">", nats.WatchOptions{})
	put(t, n, "a", "1")
	put(t, n, "b", "1")
	m.equals("at the beginning", state(t, n, ">"))
	eventually(t, "the watch has begun", func() bool { return m.told(nats.Synced) == 1 })
	// The first one is soon. It is left out if nothing was published.
	put(t, n, "c", "1")
	eventually(t, "there was a verification", func() bool { return m.w.Stats().CatchUps == 2 })
	lose.Store(true)
	put(t, n, "a", "2")
	if _, err := n.Delete(bounded(t), "b"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	m.equals("behind the losses", map[string]string{"a": "2", "c": "1"})
	if took := time.Since(begun); took > atMost {
		t.Errorf("it took %v, with a verification each %v", took, interval)
	}
}

// TestClientWatchGap: one event that names a predecessor that did not arrive is reason
// enough to look for what else is missing.
func TestClientWatchGap(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	var lose atomic.Bool
	var lost atomic.Int64
	p := newLossy(t, strings.TrimPrefix(n.NATSURL(), "nats://"), func(subject string) bool {
		if !strings.HasPrefix(subject, "watch.") || !lose.Load() {
			return false
		}
		lost.Add(1)
		return true
	})
	m := mirrorOf(t, client(t, p.url(), noVerify), ">", nats.WatchOptions{})
	put(t, n, "a", "1")
	m.verified(n)
	lose.Store(true)
	put(t, n, "a", "2")
	put(t, n, "b", "1")
	eventually(t, "both were lost", func() bool { return lost.Load() == 2 })
	lose.Store(false)
	put(t, n, "a", "3")
	m.equals("behind the gap", state(t, n, ">"))
	if stats := m.w.Stats(); stats.Losses != 1 || stats.Healed != 1 {
		t.Errorf("one event showed that another was missing, and the watch counts %+v", stats)
	}
}

// TestClientWatchReconnects: what was published while a connection was made anew is asked
// for, also if that was too quick for beacons to be missed.
func TestClientWatchReconnects(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	k := newLink(t, strings.TrimPrefix(n.NATSURL(), "nats://"))
	m := mirrorOf(t, client(t, k.url(), noVerify), ">", nats.WatchOptions{})
	put(t, n, "a", "1")
	m.verified(n)
	for i := range 5 {
		k.cut()
		put(t, n, "a", fmt.Sprint(i))
		m.equals("behind the cut", state(t, n, ">"))
	}
}

// TestClientWatchSlow: a consumer that does not come loses what was kept for it, not the
// present state; nothing that is kept grows beyond its bounds.
func TestClientWatchSlow(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	m := newMirror(t, client(t, n.NATSURL()), ">", nats.WatchOptions{MaxPending: 50})
	churn(t, n, 1000, 100)
	eventually(t, "all events arrived", func() bool { return m.w.Stats().Events >= 500 })
	if s := m.w.Stats(); s.Pending > 50 {
		t.Errorf("%d updates wait", s.Pending)
	}
	m.follow()
	m.equals("when the consumer comes", state(t, n, ">"))
	eventually(t, "the watch is fresh", func() bool { return m.told(nats.Synced) == 1 && m.told(nats.Stale) == m.told(nats.Fresh) })
}

// TestClientWatchLarge: a state larger than what may wait, and a consumer that takes its
// time.
func TestClientWatchLarge(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	value := bytes.Repeat([]byte("x"), 10_000)
	for i := range 300 {
		put(t, n, fmt.Sprint(i), string(value))
	}
	m := newMirror(t, client(t, n.NATSURL()), ">", nats.WatchOptions{MaxPendingBytes: 200_000})
	eventually(t, "some is there", func() bool { return m.w.Stats().Pending > 0 })
	m.follow()
	m.equals("in the end", state(t, n, ">"))
}

// TestClientWatchLeaderGoes: the leader goes away while keys change; watches through the
// others, and through its own broker, have the state in the end.
func TestClientWatchLeaderGoes(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	urls := others[0].NATSURL() + "," + others[1].NATSURL()
	ms := []*mirror{
		mirrorOf(t, client(t, others[0].NATSURL()), ">", nats.WatchOptions{}),
		mirrorOf(t, client(t, others[1].NATSURL()), "k.*", nats.WatchOptions{}),
		mirrorOf(t, client(t, leader.NATSURL()+","+urls), ">", nats.WatchOptions{}),
	}
	writer := client(t, urls)
	ctx := bounded(t)
	for i := range 200 {
		if i == 100 {
			stop(t, leader)
		}
		if _, err := writer.Put(ctx, fmt.Sprintf("k.%d", i%30), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	next, _ := split(t, others)
	want := state(t, next, ">")
	for i, m := range ms {
		m.equals(fmt.Sprintf("watch %d", i), want)
	}
}

// TestClientWatchRestore: a restored backup takes keys back to what they were, and the
// watch with it.
func TestClientWatchRestore(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	churn(t, n, 100, 20)
	old := state(t, n, ">")
	var backup bytes.Buffer
	if _, err := n.Backup(bounded(t), &backup); err != nil {
		t.Fatal(err)
	}
	m := mirrorOf(t, client(t, n.NATSURL()), ">", nats.WatchOptions{})
	churn(t, n, 100, 20)
	put(t, n, "new", "x")
	m.equals("before", state(t, n, ">"))
	m.mu.Lock()
	m.back = true
	m.mu.Unlock()
	if _, err := n.Restore(bounded(t), &backup); err != nil {
		t.Fatal(err)
	}
	m.equals("behind the restore", old)
}

// TestClientWatchRestoreElsewhere: a backup of another cluster has keys that stand, with other
// values, where those of this one stand.
func TestClientWatchRestoreElsewhere(t *testing.T) {
	t.Parallel()
	other, n := lead(t, single(t)), lead(t, single(t))
	there, here := put(t, other, "k", "theirs"), put(t, n, "k", "ours")
	if there != here {
		t.Fatalf("the keys stand at %d and %d", there, here)
	}
	m := mirrorOf(t, client(t, n.NATSURL()), ">", nats.WatchOptions{})
	m.equals("before", state(t, n, ">"))
	m.mu.Lock()
	m.back = true
	m.mu.Unlock()
	backup, _ := backupOf(t, other)
	restoreInto(t, n, backup)
	m.equals("behind the restore", map[string]string{"k": "theirs"})
}

// TestClientWatchPutBack: somebody puts back the files of an earlier time. The leader then
// is one of an earlier term, of the same or of a later one, as it happens, and a watch goes
// back with it; a raw one tells that it knows nothing any more.
func TestClientWatchPutBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		before, after int // starts more than there must be
	}{
		{"an earlier term", 1, 0},
		{"the same term", 0, 0},
		{"a later term", 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config := single(t)
			config.NATS = freeport.Address(t)
			again := func(starts int) (n *Node) {
				for ; starts > 0; starts-- {
					stop(t, lead(t, config)) // each in a term of its own
				}
				return lead(t, config)
			}
			n := again(0)
			churn(t, n, 100, 20)
			earlier := state(t, n, ">")
			stop(t, n)
			kept := t.TempDir()
			if err := os.CopyFS(kept, os.DirFS(config.DataDir)); err != nil {
				t.Fatal(err)
			}
			n = again(c.before)
			m := mirrorOf(t, client(t, n.NATSURL()), ">", nats.WatchOptions{})
			raw := mirrorOf(t, client(t, n.NATSURL()), ">", nats.WatchOptions{Raw: true})
			eventually(t, "the raw watch has begun", func() bool { return raw.told(nats.Synced) == 1 })
			churn(t, n, 100, 20)
			put(t, n, "new", "x")
			m.equals("before", state(t, n, ">"))
			for _, m := range []*mirror{m, raw} {
				m.mu.Lock()
				m.back = true
				m.mu.Unlock()
			}
			stop(t, n)
			config.DataDir = kept
			n = again(c.after)
			m.equals("behind files of an earlier time", earlier)
			eventually(t, "the raw watch tells that it knows nothing any more", func() bool {
				raw.mu.Lock()
				defer raw.mu.Unlock()
				return slices.Contains(raw.causes, "this is another cluster, or an earlier state of it")
			})
			put(t, n, "later", "x")
			m.equals("later", state(t, n, ">"))
		})
	}
}

// TestClientWatchBounds: a watch of too many living keys ends with an error that says so.
func TestClientWatchBounds(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	few := mirrorOf(t, client(t, n.NATSURL()), ">", nats.WatchOptions{MaxKeys: 10})
	for i := range 20 {
		put(t, n, fmt.Sprint(i), "")
		if _, err := n.Delete(bounded(t), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, n, "0", "")
	few.equals("behind much that came and went", state(t, n, ">"))
	for i := range 20 {
		put(t, n, fmt.Sprint(i), "")
	}
	<-few.stopped
	if few.err != nats.ErrTooManyKeys {
		t.Errorf("the watch that has begun with few keys ended with %v", few.err)
	}
	m := mirrorOf(t, client(t, n.NATSURL()), ">", nats.WatchOptions{MaxKeys: 10})
	<-m.stopped
	if m.err != nats.ErrTooManyKeys {
		t.Errorf("the watch ended with %v", m.err)
	}
	c := client(t, n.NATSURL())
	if _, err := c.Watch(bounded(t), "a..*", nats.WatchOptions{}); !errors.Is(err, fanout.ErrBadPattern) {
		t.Errorf("a bad pattern: %v", err)
	}
	if _, err := c.Watch(bounded(t), ">", nats.WatchOptions{MaxKeys: -1}); !errors.Is(err, fanout.ErrBadOption) {
		t.Errorf("a bad option: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	w, err := c.Watch(ctx, ">", nats.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("enough")
	cancel(cause)
	eventually(t, "the watch ends with its context", func() bool { return w.Err() == cause })
	w, err = c.Watch(bounded(t), ">", nats.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if w.Err() != nats.ErrClientClosed {
		t.Errorf("a watch of a closed client: %v", w.Err())
	}
	if _, err := c.Watch(bounded(t), ">", nats.WatchOptions{}); !errors.Is(err, nats.ErrClientClosed) {
		t.Errorf("a watch of a closed client: %v", err)
	}
}
