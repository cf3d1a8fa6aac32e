package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/internal/natstest"
	"github.com/watchcast/watchcast/nats"
)

// patience bounds every wait for something that should take milliseconds.
const patience = 30 * time.Second

// bounded returns a context for the waits of a test.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func testLogger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// single is the configuration of a node on its own, on free ports.
func single(t *testing.T) Config {
	return Config{DataDir: t.TempDir(), NATS: "127.0.0.1:0", HTTP: Off, Logger: testLogger(t)}
}

// start starts a node that the test's end closes if the test has not.
func start(t *testing.T, c Config) *Node {
	t.Helper()
	n, err := Start(bounded(t), c)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { stop(t, n) })
	return n
}

// lead starts a node and waits until it leads.
func lead(t *testing.T, c Config) *Node {
	t.Helper()
	n := start(t, c)
	waitReady(t, n)
	return n
}

func waitReady(t *testing.T, n *Node) {
	t.Helper()
	if err := n.WaitReady(bounded(t)); err != nil {
		t.Fatalf("%s is not ready: %v", n.ID(), err)
	}
}

func stop(t *testing.T, n *Node) {
	t.Helper()
	if err := within(t, "Close", n.Close); err != nil {
		t.Errorf("close %s: %v", n.ID(), err)
	}
}

// within fails the test at once if f does not return.
func within[T any](t *testing.T, what string, f func() T) T {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- f() }()
	select {
	case v := <-done:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not return within %v", what, patience)
		panic("unreachable")
	}
}

// eventually looks again and again until a condition holds that nothing signals.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !condition(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func put(t *testing.T, n *Node, key, value string) uint64 {
	t.Helper()
	revision, err := n.Put(bounded(t), key, []byte(value))
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	return revision
}

func wantValue(t *testing.T, n *Node, key, value string, revision uint64) {
	t.Helper()
	e, err := n.Get(bounded(t), key)
	if err != nil || string(e.Value) != value || e.Revision != revision {
		t.Fatalf("get %q: %q at %d, %v; want %q at %d", key, e.Value, e.Revision, err, value, revision)
	}
}

func watch(t *testing.T, n *Node, pattern string, opts ...fanout.WatchOption) *fanout.Watcher {
	t.Helper()
	w, err := n.Watch(context.Background(), pattern, opts...)
	if err != nil {
		t.Fatalf("watch %s: %v", pattern, err)
	}
	t.Cleanup(w.Stop)
	return w
}

func next(t *testing.T, w *fanout.Watcher) *fanout.Event {
	t.Helper()
	e, err := w.Next(bounded(t))
	if err != nil {
		t.Fatalf("no event: %v", err)
	}
	return e
}

// connect returns an ordinary client's connection.
func connect(t *testing.T, url string, options ...natsgo.Option) *natsgo.Conn {
	t.Helper()
	return natstest.Connect(t, url, options...)
}

// request asks the key-value service and returns its reply, errors included.
func request(t *testing.T, conn *natsgo.Conn, subject string, value []byte) *natsgo.Msg {
	t.Helper()
	ctx := bounded(t)
	for {
		reply, err := conn.RequestWithContext(ctx, subject, value)
		if errors.Is(err, natsgo.ErrNoResponders) { // no leader that this broker knows of: ask again
			pause(ctx, leaderPoll)
			continue
		}
		if err != nil {
			t.Fatalf("request %s: %v", subject, err)
		}
		return reply
	}
}

// revisionOf returns the revision in a reply, or the error that it is.
func revisionOf(reply *natsgo.Msg) (uint64, error) {
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
		return 0, fmt.Errorf("%s: %s", code, reply.Header.Get("Nats-Service-Error"))
	}
	return strconv.ParseUint(reply.Header.Get(nats.HeaderRev), 10, 64)
}

// stream collects what a NATS client receives of events and resets.
type stream struct {
	t        *testing.T
	subjects nats.Subjects

	mu      sync.Mutex
	events  []*fanout.Event
	resets  []nats.Reset
	beacons []nats.Beacon
	changed chan struct{} // closed and replaced at every message
}

// subscribe collects from before it returns until the end of the test.
func subscribe(t *testing.T, conn *natsgo.Conn, pattern string) *stream {
	t.Helper()
	s := &stream{t: t, changed: make(chan struct{})}
	if err := s.subjects.Check(); err != nil {
		t.Fatal(err)
	}
	messages := make(chan *natsgo.Msg, 1<<16)
	for _, subject := range []string{s.subjects.Events(pattern), s.subjects.Reset(), s.subjects.Beacon()} {
		sub, err := conn.ChanSubscribe(subject, messages)
		if err != nil {
			t.Fatalf("subscribe to %s: %v", subject, err)
		}
		t.Cleanup(func() { sub.Unsubscribe() }) // fails where the broker is gone
	}
	if err := conn.FlushWithContext(bounded(t)); err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case m := <-messages:
				s.receive(m)
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s
}

func (s *stream) receive(m *natsgo.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	var err error
	switch m.Subject {
	case s.subjects.Reset():
		var r nats.Reset
		r, err = nats.DecodeReset(m)
		s.resets = append(s.resets, r)
	case s.subjects.Beacon():
		var b nats.Beacon
		b, err = nats.DecodeBeacon(m)
		s.beacons = append(s.beacons, b)
	default:
		var e *fanout.Event
		if e, err = s.subjects.DecodeEvent(m); err == nil {
			s.events = append(s.events, e)
		}
	}
	if err != nil {
		s.t.Errorf("message: %v", err)
	}
}

// untilLost waits for a reset that covers these revisions.
func (s *stream) untilLost(what string, from, to uint64) {
	s.t.Helper()
	s.until(what, func(s *stream) bool {
		return slices.ContainsFunc(s.resets, func(l nats.Reset) bool { return l.From <= from && to <= l.To })
	})
}

// until waits for a state of what was collected. The condition must not keep
// what it is given.
func (s *stream) until(what string, condition func(*stream) bool) {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		ok, changed := condition(s), s.changed
		have := len(s.events)
		resets := slices.Clone(s.resets)
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			s.t.Fatalf("%s: not within %v; received %d events, resets %+v", what, patience, have, resets)
		}
	}
}

// collect waits for so many events and returns them.
func (s *stream) collect(n int) (events []*fanout.Event) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d events come", n), func(s *stream) bool {
		events = slices.Clone(s.events)
		return len(events) >= n
	})
	return events
}

// seen waits for the event of a revision and returns all events until then.
func (s *stream) seen(revision uint64) []*fanout.Event {
	s.t.Helper()
	var events []*fanout.Event
	s.until("an event of the last revision", func(s *stream) bool {
		i := slices.IndexFunc(s.events, func(e *fanout.Event) bool { return e.Revision == revision })
		events = slices.Clone(s.events[:i+1])
		return i >= 0
	})
	return events
}

// hears reports whether the event of a revision comes before ctx ends.
func (s *stream) hears(ctx context.Context, revision uint64) bool {
	for {
		s.mu.Lock()
		heard, changed := slices.ContainsFunc(s.events, func(e *fanout.Event) bool { return e.Revision == revision }), s.changed
		s.mu.Unlock()
		if heard {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// losses returns the resets that were announced so far.
func (s *stream) losses() []nats.Reset {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.resets)
}

// noResets fails the test if a loss was announced.
func (s *stream) noResets() {
	s.t.Helper()
	if lost := s.losses(); len(lost) > 0 {
		s.t.Fatalf("resets were announced: %+v", lost)
	}
}

// silentUntilBeacon waits for the leader's first beacon, and fails the test if
// anything was published before it.
func (s *stream) silentUntilBeacon() {
	s.t.Helper()
	s.until("a beacon", func(s *stream) bool { return len(s.beacons) > 0 })
	s.noResets()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) > 0 {
		s.t.Fatalf("%+v was published", s.events[0])
	}
}
