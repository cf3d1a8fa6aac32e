package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/internal/natstest"
	"github.com/watchcast/watchcast/nats"
)

// killsVariable is how many leaders TestKilledLeaders kills; a few if it is not set.
const killsVariable = "WATCHCAST_TEST_KILLS"

// change is what was done to a key at a revision.
type change struct {
	key      string
	revision uint64
}

// ledger is what was acknowledged.
type ledger struct {
	mu      sync.Mutex
	changes map[change]string // the value; "" of a deletion
}

func (l *ledger) add(revision uint64, values map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, value := range values {
		l.changes[change{key, revision}] = value
	}
}

// load writes until stop is closed: puts, deletes, keys that come again, and batches.
// Each writer has keys of its own. What cannot be written in time is given up and is in
// no ledger.
func load(t *testing.T, client *nats.Client, writer int, l *ledger, stop <-chan struct{}) {
	const keys = 200
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	key := func() string { return fmt.Sprintf("w%d.%d", writer, rand.N(keys)) }
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		values := map[string]string{}
		var revision uint64
		var err error
		switch rand.N(4) {
		case 0:
			k := key()
			values[k] = ""
			revision, err = client.Delete(ctx, k)
		case 1:
			k := key()
			values[k] = strconv.Itoa(n)
			revision, err = client.Put(ctx, k, []byte(values[k]))
		default:
			var operations []nats.Operation
			for range 16 {
				k := key()
				if _, ok := values[k]; !ok {
					values[k] = strconv.Itoa(n)
					operations = append(operations, nats.Operation{Key: k, Value: []byte(values[k])})
				}
			}
			revision, err = client.Batch(ctx, operations)
		}
		switch {
		case err == nil:
			l.add(revision, values)
		case errors.Is(err, &nats.Error{Code: nats.CodeNotFound}), errors.Is(err, &nats.Error{Code: nats.CodeUnknown}), errors.Is(err, &nats.Error{Code: nats.CodeUnavailable}):
		default:
			t.Errorf("writer %d: %v", writer, err)
			return
		}
	}
}

// plain is a raw watch through one broker, for as long as that lives.
type plain struct {
	t      *testing.T
	name   string
	client *nats.Client
	conn   *natsgo.Conn
	watch  *nats.Watch
	over   chan struct{}

	mu     sync.Mutex
	from   uint64 // revision from which it has to see everything; 0 for not yet
	last   uint64 // highest revision that it has seen
	seen   map[change]string
	resets []nats.Range
	when   time.Time // of the last event
}

// follow subscribes at a broker, and returns when what changes arrives.
func follow(t *testing.T, name, url string, writer *nats.Client) *plain {
	t.Helper()
	conn := connectSoon(t, url)
	client, err := nats.NewClient(nats.ClientOptions{Conn: conn})
	if err != nil {
		t.Fatal(err)
	}
	p := &plain{t: t, name: name, conn: conn, client: client, seen: make(map[change]string), over: make(chan struct{})}
	if p.watch, err = client.Watch(context.Background(), ">", nats.WatchOptions{Raw: true, MaxPending: 1 << 20, MaxPendingBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	go p.run()
	t.Cleanup(func() {
		p.watch.Stop()
		<-p.over
		p.client.Close()
	})
	for ctx := bounded(t); ; {
		if _, err := writer.Put(ctx, "hello."+name, []byte("x")); err != nil {
			t.Fatal(err)
		}
		p.mu.Lock()
		heard := p.last > 0
		p.from = p.last
		p.mu.Unlock()
		if heard {
			return p
		}
	}
}

func (p *plain) run() {
	defer close(p.over)
	for u := range p.watch.Updates() {
		p.mu.Lock()
		switch {
		case u.Kind == nats.Changed:
			e := u.Event
			p.seen[change{e.Key, e.Revision}] = string(e.Value)
			p.last = max(p.last, e.Revision)
			p.when = time.Now()
		case u.Kind == nats.Lost && u.Key == "" && u.Range.From > 0:
			p.resets = append(p.resets, u.Range)
		case u.Kind == nats.Lost && u.Key != "" && p.conn.IsConnected():
			p.t.Errorf("%s: a loss was told that was none, or is one: %+v", p.name, u)
		}
		p.mu.Unlock()
	}
}

// until waits for an event of a revision or later, and returns when the last one came.
func (p *plain) until(revision uint64) (when time.Time) {
	p.t.Helper()
	if !poll(limit, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		when = p.when
		return p.last >= revision
	}) {
		p.t.Fatalf("%s has not seen revision %d", p.name, revision)
	}
	return when
}

// poll looks until a condition holds that nothing signals, and reports whether it did in
// time.
func poll(limit time.Duration, holds func() bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(limit); !holds(); {
		select {
		case <-tick.C:
		case <-end:
			return false
		}
	}
	return true
}

// end ends the subscriber, and holds that it has seen all that was acknowledged in its
// time, or heard that it may not have.
func (p *plain) end(l *ledger) (events int) {
	p.t.Helper()
	p.watch.Stop()
	<-p.over
	p.client.Close()
	p.conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	missed, told := 0, 0
	for c, value := range l.changes {
		if c.revision <= p.from || c.revision >= p.last { // the last one may be half a batch
			continue
		}
		if got, ok := p.seen[c]; ok && got == value {
			continue
		}
		excused := false
		for _, r := range p.resets {
			excused = excused || r.From <= c.revision && c.revision <= r.To
		}
		if excused {
			told++
		} else {
			if missed++; missed < 5 {
				p.t.Errorf("%s, from revision %d to %d, missed %v without a word; resets %v", p.name, p.from, p.last, c, p.resets)
			}
		}
	}
	if told > len(p.seen)/5 {
		p.t.Errorf("%s has seen %d changes, and of %d was only told that they are lost: %v", p.name, len(p.seen), told, p.resets)
	}
	return len(p.seen)
}

// healing is a watch that heals itself, and what it gave, added up.
type healing struct {
	name   string
	watch  *nats.Watch
	over   chan struct{}
	mu     sync.Mutex
	values map[string]string
}

func heal(t *testing.T, name, urls string) *healing {
	t.Helper()
	conn := natstest.Connect(t, urls, append(nats.ClientConn(), natsgo.DontRandomize())...)
	client, err := nats.NewClient(nats.ClientOptions{Conn: conn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	h := &healing{name: name, values: make(map[string]string), over: make(chan struct{})}
	if h.watch, err = client.Watch(context.Background(), ">", nats.WatchOptions{}); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(h.over)
		revisions := make(map[string]uint64)
		for u := range h.watch.Updates() {
			if u.Kind != nats.Changed {
				continue
			}
			h.mu.Lock()
			e := u.Event
			if e.Revision <= revisions[e.Key] {
				t.Errorf("%s: %s of %s at revision %d came behind %d", name, e.Op, e.Key, e.Revision, revisions[e.Key])
			}
			revisions[e.Key] = e.Revision
			if e.Op == fanout.Put {
				h.values[e.Key] = string(e.Value)
			} else {
				delete(h.values, e.Key)
			}
			h.mu.Unlock()
		}
	}()
	return h
}

// TestKilledLeaders kills one leader after the other under load. Subscribers at brokers
// that survive miss nothing and are told of no loss that was none; watches that heal
// themselves, wherever they are connected, are equal to the store in the end; and the
// next event comes within seconds. WATCHCAST_TEST_KILLS is how many.
func TestKilledLeaders(t *testing.T) {
	kills := 3
	if text := os.Getenv(killsVariable); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s is %q; give a number", killsVariable, text)
		}
	}
	c := startCluster(t, 3, nil)
	var urls []string
	for _, addr := range c.nats {
		urls = append(urls, "nats://"+addr)
	}
	all := strings.Join(urls, ",")
	newClient := func() *nats.Client {
		client, err := nats.NewClient(nats.ClientOptions{Conn: c.connect(), Timeout: limit})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return client
	}
	l := &ledger{changes: make(map[change]string)}
	healed := []*healing{heal(t, "h1", all), heal(t, "h2", urls[1]+","+all), heal(t, "h3", urls[2]+","+all)}
	hello := newClient()
	followers := make([]*plain, len(c.nodes))
	for i := range c.nodes {
		followers[i] = follow(t, fmt.Sprintf("p%d", i+1), urls[i], hello)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for i := range 16 {
		client := newClient()
		writers.Go(func() { load(t, client, i, l, stop) })
	}
	var events atomic.Int64
	var gaps []time.Duration
	for range kills {
		before := c.leader()
		killed := time.Now()
		c.nodes[before].kill()
		survivor := followers[(before+1)%len(followers)]
		// The first event of the next leader is one that was written behind the kill.
		first, err := hello.Put(bounded(t), "after", []byte(strconv.Itoa(before)))
		if err != nil {
			t.Fatalf("nobody leads behind a kill: %v", err)
		}
		gaps = append(gaps, survivor.until(first).Sub(killed))
		events.Add(int64(followers[before].end(l)))
		c.restart(before)
		followers[before] = follow(t, fmt.Sprintf("p%d", before+1), urls[before], hello)
		if t.Failed() {
			break
		}
	}
	close(stop)
	writers.Wait()
	last, err := hello.Put(bounded(t), "last", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	l.add(last, map[string]string{"last": "x"})
	for _, p := range followers {
		p.until(last)
		events.Add(int64(p.end(l)))
	}
	want := make(map[string]string)
	list, err := hello.List(bounded(t), ">")
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range list.All() {
		if err != nil {
			t.Fatal(err)
		}
		want[e.Key] = string(e.Value)
	}
	for _, h := range healed {
		if !poll(time.Minute, func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return maps.Equal(h.values, want)
		}) {
			t.Errorf("%s and the store, with %d keys, differ: %+v", h.name, len(want), h.watch.Stats())
		}
		h.watch.Stop()
		<-h.over
	}
	t.Logf("%d leaders killed, %d changes acknowledged, %d events at plain subscribers; from kill to next event %v", len(gaps), len(l.changes), events.Load(), gaps)
}
