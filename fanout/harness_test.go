package fanout

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// testT is what the harness needs of a test, be it a plain or a property one.
type testT interface {
	rapid.TB
	Cleanup(func())
}

// harness is what an owner has: a ring, a registry and a dispatcher.
//
// In a synctest bubble, synctest.Wait after a put returns when the dispatcher has
// delivered everything and parks. (There it must not spin: time stands still
// while it does.)
type harness struct {
	ring       *Ring
	registry   *Registry
	dispatcher *Dispatcher
	revision   uint64

	cancel context.CancelCauseFunc
	ended  chan struct{}
	err    error // of Run
}

var errOwnerStopped = errors.New("the owner stops the dispatcher")

func newHarness(t testT, slots int, o RegistryOptions) *harness {
	t.Helper()
	h := &harness{ring: newTestRing(t, slots), registry: newTestRegistry(t, o)}
	h.join(t, DispatcherOptions{Spin: -1})
	return h
}

func newTestRegistry(t rapid.TB, o RegistryOptions) *Registry {
	t.Helper()
	r, err := NewRegistry(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// join makes the dispatcher.
func (h *harness) join(t testT, o DispatcherOptions) {
	t.Helper()
	var err error
	if h.dispatcher, err = NewDispatcher(h.ring, h.registry, o); err != nil {
		t.Fatal(err)
	}
}

// run starts the dispatcher; it ends with the test at the latest.
func (h *harness) run(t testT) *harness {
	var ctx context.Context
	ctx, h.cancel = context.WithCancelCause(context.Background())
	h.ended = make(chan struct{})
	go func() {
		defer close(h.ended)
		h.err = h.dispatcher.Run(ctx)
	}()
	t.Cleanup(h.stop)
	return h
}

// stop ends the dispatcher and waits for it.
func (h *harness) stop() {
	h.cancel(errOwnerStopped)
	<-h.ended
}

// push stages one change each of the keys.
func (h *harness) push(keys ...string) {
	for _, key := range keys {
		h.revision++
		h.ring.Push(change(key, h.revision))
	}
}

// put publishes one change each of the keys.
func (h *harness) put(keys ...string) {
	h.push(keys...)
	h.ring.Flush()
}

// keepPutting publishes changes of the keys, again and again, until stop is called.
func (h *harness) keepPutting(keys ...string) (stop func()) {
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				h.put(keys...)
				runtime.Gosched()
			}
		}
	})
	return func() {
		close(done)
		writer.Wait()
	}
}

// putBatch publishes an atomic batch of changes of the keys.
func (h *harness) putBatch(keys ...string) {
	h.revision++
	for _, e := range batchOf(h.revision, keys...) {
		h.ring.Push(e)
	}
	h.ring.Flush()
}

func (h *harness) watchKey(t testT, key string, opts ...WatchOption) *Watcher {
	t.Helper()
	w, err := h.registry.WatchKey(context.Background(), key, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (h *harness) watch(t testT, pattern string, opts ...WatchOption) *Watcher {
	t.Helper()
	w, err := h.registry.Watch(context.Background(), pattern, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// wantLen checks how many watchers are registered, by all the books there are.
func (h *harness) wantLen(t testT, want int) {
	t.Helper()
	r := h.registry
	if r.Len() != want || len(r.roster.list) != want || r.Stats().Watchers != want {
		t.Fatalf("%d watchers are registered, the roster has %d, want %d", r.Len(), len(r.roster.list), want)
	}
	if want > 0 {
		return
	}
	patterns := int(r.patterns.some.Load())
	for w := r.patterns.everything.Load(); w != nil; w = w.next.Load() {
		patterns++
	}
	if r.keys.len() != 0 || patterns != 0 || r.patterns.matcher.Count() != 0 || len(r.contexts.groups) != 0 {
		t.Fatalf("with no watcher left there are %d keys, %d patterns, %d in the matcher, %d contexts",
			r.keys.len(), patterns, r.patterns.matcher.Count(), len(r.contexts.groups))
	}
}

// drain takes all that can be taken now.
func drain(w *Watcher) (events []*Event) {
	for e, ok := w.TryNext(); ok; e, ok = w.TryNext() {
		events = append(events, e)
	}
	return events
}

// wantDrain lets the dispatcher come to rest and compares what w has by then.
func wantDrain(t testT, w *Watcher, want ...int) {
	t.Helper()
	synctest.Wait()
	wantEvents(t, drain(w), want...)
}

// bubble runs test in a synctest bubble with a dispatcher at work.
func bubble(t *testing.T, slots int, test func(t *testing.T, h *harness)) {
	synctest.Test(t, func(t *testing.T) {
		test(t, newHarness(t, slots, RegistryOptions{}).run(t))
	})
}
