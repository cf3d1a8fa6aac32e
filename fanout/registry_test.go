package fanout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"unsafe"
)

func TestRegistryRefuses(t *testing.T) {
	for _, o := range []RegistryOptions{{MaxWatchers: -1}, {Buffer: -1}, {Buffer: MaxBuffer + 1}} {
		if _, err := NewRegistry(o); !errors.Is(err, ErrBadOption) {
			t.Errorf("NewRegistry(%+v): %v, want ErrBadOption", o, err)
		}
	}
	r := newTestRegistry(t, RegistryOptions{})
	enough := errors.New("enough")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	for _, c := range []struct {
		ctx      context.Context
		filter   string
		buffer   int
		key, pat error
	}{
		{t.Context(), "", 1, ErrBadKey, ErrBadPattern},
		{t.Context(), "a..b", 1, nil, ErrBadPattern},
		{t.Context(), "a*", 1, nil, ErrBadPattern},
		{t.Context(), "a", 0, ErrBadOption, ErrBadOption},
		{t.Context(), "a", MaxBuffer + 1, ErrBadOption, ErrBadOption},
		{nil, "a", 1, ErrBadOption, ErrBadOption},
		{ended, "a", 1, enough, enough},
	} {
		if w, err := r.WatchKey(c.ctx, c.filter, WithBuffer(c.buffer)); !errors.Is(err, c.key) || (w == nil) != (err != nil) {
			t.Errorf("WatchKey(%q, buffer %d): %v, want %v", c.filter, c.buffer, err, c.key)
		} else if w != nil {
			w.Stop()
		}
		if w, err := r.Watch(c.ctx, c.filter, WithBuffer(c.buffer)); w != nil || !errors.Is(err, c.pat) {
			t.Errorf("Watch(%q, buffer %d): %v, want %v", c.filter, c.buffer, err, c.pat)
		}
	}
	if r.Len() != 0 {
		t.Errorf("%d watchers are registered after all were refused or stopped", r.Len())
	}
}

// TestLiteralPattern: a pattern without wildcards is one key, in subject form.
func TestLiteralPattern(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		byPattern, byKey := h.watch(t, "a%20b.%2A"), h.watchKey(t, "a b.*")
		escaped := h.watchKey(t, "a%20b.%2A") // a key is not a pattern
		h.put("a b.*", "a%20b.%2A", "a b.c")
		wantDrain(t, byPattern, 1)
		wantDrain(t, byKey, 1)
		wantDrain(t, escaped, 2)
	})
}

func TestMaxWatchers(t *testing.T) {
	const limit, tries = 100, 4 * 60
	r := newTestRegistry(t, RegistryOptions{MaxWatchers: limit})
	for range 20 {
		watchers := make(chan *Watcher, tries)
		var refused atomic.Int64
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := range tries / 4 {
					w, err := r.Watch(context.Background(), []string{"a", fmt.Sprint(n), "*.a", ">"}[i])
					switch {
					case err == nil:
						watchers <- w
					case errors.Is(err, ErrTooManyWatchers):
						refused.Add(1)
					default:
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if len(watchers) != limit || refused.Load() != tries-limit || r.Len() != limit {
			t.Fatalf("%d watchers, %d refused, Len %d; want %d and %d", len(watchers), refused.Load(), r.Len(), limit, tries-limit)
		}
		for range limit {
			(<-watchers).Stop()
		}
		if r.Len() != 0 {
			t.Fatalf("Len is %d after all were stopped", r.Len())
		}
	}
}

// countedContext counts the functions that are to run when it ends.
type countedContext struct {
	context.Context
	done       chan struct{}
	registered atomic.Int64 // at the moment
	all        atomic.Int64 // ever
}

func (c *countedContext) Done() <-chan struct{} { return c.done }

// AfterFunc is what the standard library calls instead of waiting itself.
func (c *countedContext) AfterFunc(f func()) (stop func() bool) {
	c.registered.Add(1)
	c.all.Add(1)
	return sync.OnceValue(func() bool { c.registered.Add(-1); return true })
}

// TestOneRegistrationPerContext: a thousand watchers of one context cost it one
// registration, taken back with the last of them.
func TestOneRegistrationPerContext(t *testing.T) {
	r := newTestRegistry(t, RegistryOptions{})
	ctx := &countedContext{Context: t.Context(), done: make(chan struct{})}
	var watchers []*Watcher
	for i := range 1000 {
		w, err := r.WatchKey(ctx, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		watchers = append(watchers, w)
		if i%3 == 1 {
			watchers[i/2].Stop()
		}
	}
	if n, all := ctx.registered.Load(), ctx.all.Load(); n != 1 || all != 1 {
		t.Fatalf("the context has %d registrations, and had %d", n, all)
	}
	for _, w := range watchers {
		w.Stop()
	}
	if n := ctx.registered.Load(); n != 0 || len(r.contexts.groups) != 0 {
		t.Fatalf("the context has %d registrations after all watchers have gone", n)
	}
}

// TestContextsThatEndTogether share a registration: those that only carry
// values of their own.
func TestContextsThatEndTogether(t *testing.T) {
	type key struct{}
	r := newTestRegistry(t, RegistryOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	var watchers [10]*Watcher // kept, or the collector would end them
	for i := range watchers {
		var err error
		if watchers[i], err = r.WatchKey(context.WithValue(ctx, key{}, i), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.contexts.groups); n != 1 {
		t.Fatalf("the watchers stand in %d groups, want 1", n)
	}
	cancel()
	r.waitEmpty(t)
	for _, w := range watchers {
		if !errors.Is(w.Err(), context.Canceled) {
			t.Errorf("Err is %v, want the context's end", w.Err())
		}
	}
}

// TestContextEnds: it ends its watchers and no others, with its cause, and
// discards what they hold.
func TestContextEnds(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		inner, cancelInner := context.WithCancel(ctx)
		defer cancelInner()
		var ending []*Watcher
		for i, c := range []context.Context{ctx, ctx, inner} {
			w, err := h.registry.Watch(c, []string{"a", "*", ">"}[i])
			if err != nil {
				t.Fatal(err)
			}
			ending = append(ending, w)
		}
		other := h.watchKey(t, "a")
		var err error
		go func() {
			for err == nil {
				_, err = ending[0].Next(context.Background())
			}
		}()
		h.put("a")
		synctest.Wait()
		cancel(enough)
		synctest.Wait()
		if !errors.Is(err, enough) {
			t.Errorf("a waiting consumer got %v, want the cause", err)
		}
		for _, w := range ending {
			if e, ok := w.TryNext(); ok || !errors.Is(w.Err(), enough) {
				t.Errorf("after its context: TryNext gave %+v, Err %v", e, w.Err())
			}
		}
		h.wantLen(t, 1)
		h.put("a")
		wantDrain(t, other, 1, 2)
		other.Stop()
		h.wantLen(t, 0)
	})
}

// TestContextEndsBesideAReader: a consumer that is stuck in reading the state holds
// up no other watcher of its context.
func TestContextEndsBesideAReader(t *testing.T) {
	reading, release := make(chan struct{}), make(chan struct{})
	h := newHarness(t, 16, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) {
		return Snapshot{Next: func() *Event {
			close(reading)
			<-release
			return nil
		}}, nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watchers := make([]*Watcher, 20) // they end in any order
	for i := range watchers {
		var opts []WatchOption
		if i == 0 {
			opts = append(opts, WithInitial())
		}
		var err error
		if watchers[i], err = h.registry.WatchKey(ctx, "a", opts...); err != nil {
			t.Fatal(err)
		}
	}
	var reader sync.WaitGroup
	defer reader.Wait()
	defer close(release)
	reader.Go(func() { watchers[0].TryNext() })
	<-reading
	cancel()
	late, giveUp := context.WithTimeoutCause(context.Background(), patience, errors.New("it waits for the reader"))
	defer giveUp()
	for i, w := range watchers[1:] {
		if _, err := w.Next(late); !errors.Is(err, context.Canceled) {
			t.Fatalf("watcher %d: %v, want the end of its context", i+1, err)
		}
	}
}

// TestContextEndsWhileRegistering: whoever wins, no watcher stays behind.
func TestContextEndsWhileRegistering(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		r := newTestRegistry(t, RegistryOptions{})
		for range 500 {
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(cancel)
			for i := range 3 {
				wg.Go(func() {
					w, err := r.Watch(ctx, []string{"a", "a", "*"}[i])
					if err != nil {
						if !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
						return
					}
					if _, err := w.Next(context.Background()); !errors.Is(err, context.Canceled) {
						t.Errorf("Next gave %v, want the context's end", err)
					}
				})
			}
			wg.Wait()
		}
		r.waitEmpty(t)
	})
}

// TestWatchClonesKey: the caller's key may be a piece of something large, or of a
// buffer that he uses again.
func TestWatchClonesKey(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		buf := []byte("key")
		w := h.watchKey(t, unsafe.String(&buf[0], len(buf)))
		copy(buf, "xxx")
		h.put("key")
		wantDrain(t, w, 1)
		w.Stop()
		h.wantLen(t, 0)
	})
}

// TestWatcherSize: there may be a million, and one byte more costs each of them
// the next size class.
func TestWatcherSize(t *testing.T) {
	if size := unsafe.Sizeof(watcher{}); size != 144 {
		t.Errorf("a watcher takes %d bytes, want 144", size)
	}
}

// TestPatternIsCloned: a watcher does not hold on to what its pattern was cut from.
func TestPatternIsCloned(t *testing.T) {
	h := newHarness(t, 16, RegistryOptions{})
	for _, pattern := range []string{"literal.key", "with.*", ">"} {
		w := h.watch(t, pattern)
		if unsafe.StringData(w.inner.filter) == unsafe.StringData(pattern) {
			t.Errorf("%s: it does", pattern)
		}
		w.Stop()
	}
}
