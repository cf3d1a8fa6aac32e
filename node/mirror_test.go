package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

// mirror is what a watch gave, added up.
type mirror struct {
	t       *testing.T
	w       *nats.Watch
	stopped chan struct{}

	mu       sync.Mutex
	values   map[string]string
	revision map[string]uint64 // of the last change of each key
	kinds    []nats.UpdateKind // but changes
	causes   []string          // of these
	changes  int
	all      []nats.Update
	back     bool // revisions may go back: a backup was restored
	err      error
}

func mirrorOf(t *testing.T, c *nats.Client, pattern string, o nats.WatchOptions) *mirror {
	t.Helper()
	m := newMirror(t, c, pattern, o)
	m.follow()
	return m
}

func newMirror(t *testing.T, c *nats.Client, pattern string, o nats.WatchOptions) *mirror {
	t.Helper()
	w, err := c.Watch(context.Background(), pattern, o)
	if err != nil {
		t.Fatal(err)
	}
	return &mirror{t: t, w: w, stopped: make(chan struct{}), values: make(map[string]string), revision: make(map[string]uint64)}
}

func (m *mirror) follow() {
	go func() {
		defer close(m.stopped)
		for {
			u, err := m.w.Next(context.Background())
			m.mu.Lock()
			if err != nil {
				m.err = err
				m.mu.Unlock()
				return
			}
			m.update(u)
			m.mu.Unlock()
		}
	}()
	m.t.Cleanup(func() {
		m.w.Stop()
		<-m.stopped
	})
}

func (m *mirror) update(u nats.Update) {
	m.all = append(m.all, u)
	if u.Kind != nats.Changed {
		m.causes = append(m.causes, u.Cause)
		m.kinds = append(m.kinds, u.Kind)
		return
	}
	e := u.Event
	m.changes++
	if e.Revision <= m.revision[e.Key] && !m.back {
		m.t.Errorf("%s %s at revision %d came behind %d", e.Op, e.Key, e.Revision, m.revision[e.Key])
	}
	m.revision[e.Key] = e.Revision
	if e.Op == fanout.Put {
		m.values[e.Key] = string(e.Value)
	} else {
		delete(m.values, e.Key)
	}
}

// told returns how often the watch told something of that kind.
func (m *mirror) told(kind nats.UpdateKind) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.kinds {
		if k == kind {
			n++
		}
	}
	return n
}

// state returns what the store has, as far as a pattern goes.
func state(t *testing.T, n *Node, pattern string) map[string]string {
	t.Helper()
	l, err := n.List(bounded(t), pattern)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for e := range l.Entries() {
		all[e.Key] = string(e.Value)
	}
	return all
}

// equals waits until what the watch gave is what the store has, where nobody writes.
func (m *mirror) equals(what string, want map[string]string) {
	m.t.Helper()
	same := false
	defer func() {
		if !same {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.t.Logf("the watch gave %d keys and the store has %d; %+v, %v", len(m.values), len(want), m.w.Stats(), m.kinds)
		}
	}()
	eventually(m.t, what+", the watch gave what the store has", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		same = maps.Equal(m.values, want)
		return same
	})
}

// churn writes n random changes of some keys.
func churn(t *testing.T, n *Node, changes, keys int) {
	t.Helper()
	ctx := bounded(t)
	for i := range changes {
		key := fmt.Sprintf("k.%d", rand.N(keys))
		switch rand.N(4) {
		case 0:
			if _, err := n.Delete(ctx, key); err != nil && !errors.Is(err, fsm.ErrNotFound) {
				t.Fatalf("delete: %v", err)
			}
		case 1:
			other := fmt.Sprintf("k.%d", (rand.N(keys)+keys)%(2*keys))
			if other == key {
				continue
			}
			if _, err := n.Batch(ctx, []Op{OpPut(key, fmt.Append(nil, i)), OpPut(other, fmt.Append(nil, i))}); err != nil {
				t.Fatalf("batch: %v", err)
			}
		default:
			put(t, n, key, fmt.Sprint(i))
		}
	}
}

// verified waits until a watch has looked for what is missing, and does so no more.
func (m *mirror) verified(n *Node) {
	m.t.Helper()
	eventually(m.t, "the watch has begun", func() bool { return m.told(nats.Synced) == 1 })
	put(m.t, n, "verify", "x")
	eventually(m.t, "the watch has verified", func() bool { return m.w.Stats().CatchUps == 2 })
}

func noVerify(o *nats.ClientOptions) { o.Verify = time.Hour }
