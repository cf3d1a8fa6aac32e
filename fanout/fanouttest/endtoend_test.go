package fanouttest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
	. "github.com/watchcast/watchcast/fanout/fanouttest"
)

// patience bounds a test that would otherwise hang when something is wrong.
const patience = 60 * time.Second

// TestEndToEnd: every promise holds for watchers of every kind, all beside each
// other: of a key, of patterns and of everything, of each policy, fast and slow,
// from now, from a revision and with the state; while a writer makes and deletes
// keys, alone and in batches, overtakes the dispatcher, and has its state replaced.
func TestEndToEnd(t *testing.T) {
	for _, n := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("GOMAXPROCS=%d", n), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
			testEndToEnd(t)
		})
	}
}

const (
	slots   = 64
	buffer  = 4
	rounds  = 200
	stretch = 25 // revisions that a slow consumer lets pass before it takes another event
)

func testEndToEnd(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("somebody waits for what does not come"))
	defer cancel()
	w := newWorld(t)
	running, stop := context.WithCancel(ctx)
	var dispatching, consuming sync.WaitGroup
	dispatching.Go(func() { w.dispatcher.Run(running) })

	// Some watch from before the first change, some join when there is history.
	kinds := kinds()
	for i, k := range kinds {
		if i%2 == 0 {
			watch, r := w.watch(t, k)
			consuming.Go(func() { w.consume(ctx, t, k, watch, r) })
		}
	}
	for round := range rounds {
		if round == rounds/2 {
			for i, k := range kinds {
				if i%2 == 1 {
					watch, r := w.watch(t, k)
					consuming.Go(func() { w.consume(ctx, t, k, watch, r) })
				}
			}
		}
		w.write(ctx, round)
	}
	w.finish(ctx, len(kinds))
	stop()
	consuming.Wait()
	dispatching.Wait()

	for _, r := range w.all {
		r.Check(t, w.log.Last())
	}
	stats := w.registry.Stats()
	t.Logf("%d receivers of %d revisions: %+v", len(w.all), w.log.Last(), stats)
	if stats.Gaps == 0 || stats.Dropped == 0 || stats.Conflated == 0 || stats.Cancelled == 0 {
		t.Errorf("not everything happened that is to be survived: %+v", stats)
	}
}

// world is a program that has a watch.
type world struct {
	*author
	ring       *fanout.Ring
	registry   *fanout.Registry
	dispatcher *fanout.Dispatcher

	mu      sync.Mutex
	at      uint64 // what follows is the state at this revision
	current State
	moved   chan struct{} // closed when it goes on
	over    bool          // it will not
	all     []*Receiver
	live    map[string]*Receiver // by name, of the consumers that are at it
}

func newWorld(t *testing.T) *world {
	w := &world{author: newAuthor(), current: make(State), moved: make(chan struct{}), live: make(map[string]*Receiver)}
	var err error
	if w.ring, err = fanout.NewRing(fanout.RingOptions{Slots: slots}); err != nil {
		t.Fatal(err)
	}
	if w.registry, err = fanout.NewRegistry(fanout.RegistryOptions{Buffer: buffer, Snapshot: w.snapshot}); err != nil {
		t.Fatal(err)
	}
	if w.dispatcher, err = fanout.NewDispatcher(w.ring, w.registry, fanout.DispatcherOptions{}); err != nil {
		t.Fatal(err)
	}
	return w
}

var worldKeys = []string{"k.a", "k.b", "k.c", "k.a.b", "z", "k..a", "*"}

// write makes some revisions and publishes them at once: now and then more than
// the ring can hold, and once a new state.
func (w *world) write(ctx context.Context, round int) {
	if round == rounds*3/4 {
		// A Reset may take the place of what the dispatcher has not read, and may
		// then be lost itself, to a full buffer: its marker does not say so much.
		w.settle(ctx)
		w.replace(w.last+2, "k.a", "k.c", "new")
		w.advance()
		w.ring.Reset(w.last)
		return
	}
	n := 1 + rand.N(8)
	if round%50 == 49 {
		n = 2 * slots
	}
	for range n {
		// No revision is left out: where some are, a gap of the dispatcher may reach
		// a watcher that lost nothing, as a marker over revisions that are not there.
		revision := w.last + 1
		keys := slices.Clone(worldKeys)
		rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		keys = keys[:1+max(0, rand.N(8)-4)]
		for i, key := range keys {
			if _, exists := w.state[key]; exists && rand.N(4) == 0 {
				keys[i] = "-" + key
			}
		}
		switch key := keys[0]; {
		case len(keys) > 1:
			w.batch(revision, keys...)
		case key[0] == '-':
			w.del(revision, key[1:])
		default:
			w.put(revision, key)
		}
		w.push()
	}
	w.ring.Flush()
	if round%3 == 0 {
		runtime.Gosched()
	}
}

// push stages the last revision.
func (w *world) push() {
	w.advance()
	for _, e := range w.events[w.last] {
		w.ring.Push(e)
	}
}

// advance makes the last revision the current state; it comes before Push, so
// whoever has heard of a revision can read it.
func (w *world) advance() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.last
	w.current = make(State)
	for key, entry := range w.state {
		w.current[key] = entry
	}
	close(w.moved)
	w.moved = make(chan struct{})
}

// settle waits until the dispatcher has delivered what was published.
func (w *world) settle(ctx context.Context) {
	for w.dispatcher.Revision() < w.ring.Revision() && ctx.Err() == nil {
		runtime.Gosched()
	}
}

// finish makes the last changes, one for each receiver, and waits until everyone
// has them or was told of them.
func (w *world) finish(ctx context.Context, consumers int) {
	w.put(w.last+1, "k.a")
	w.push()
	w.del(w.last+1, "k.a")
	w.push()
	w.ring.Flush()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	close(w.moved)
	for left := consumers; left > 0 && ctx.Err() == nil; {
		left = consumers
		for _, r := range w.live {
			if r.Through() >= w.last-1 {
				left--
			}
		}
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
	}
}

// read returns the current state, which nobody writes to any more.
func (w *world) read() (uint64, State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at, w.current
}

func (w *world) snapshot(f fanout.Filter) (fanout.Snapshot, error) {
	at, state := w.read()
	var entries []*fanout.Event
	for key, entry := range state {
		if f.Match(key) {
			entries = append(entries, &fanout.Event{Op: fanout.Put, Key: key, Value: entry.Value, Revision: entry.Revision})
		}
	}
	next := func() *fanout.Event {
		if len(entries) == 0 {
			return nil
		}
		e := entries[0]
		entries = entries[1:]
		return e
	}
	return fanout.Snapshot{Revision: at, Next: next}, nil
}

// kind is what a watcher is like.
type kind struct {
	pattern string
	policy  fanout.Policy
	start   string // "now", "past", "state"
	ops     []fanout.Op
	slow    bool
}

// kinds returns every combination but for operations, which are dealt out.
func kinds() (all []kind) {
	for _, pattern := range []string{"k.a", "k.*", ">"} {
		for policy := fanout.DropNewest; policy <= fanout.Cancel; policy++ {
			for _, start := range []string{"now", "past", "state"} {
				for _, slow := range []bool{false, true} {
					all = append(all, kind{pattern: pattern, policy: policy, start: start, slow: slow})
				}
			}
		}
	}
	for i := range all {
		switch i % 5 {
		case 3:
			all[i].ops = []fanout.Op{fanout.Put}
		case 4:
			all[i].ops = []fanout.Op{fanout.Delete, fanout.Expire}
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// watch makes a watcher of a kind, and its receiver.
func (w *world) watch(t *testing.T, k kind) (*fanout.Watcher, *Receiver) {
	filter := pattern(t, k.pattern)
	options := []fanout.WatchOption{fanout.WithPolicy(k.policy)}
	may := []ReceiverOption{RereadsWith(w.read)}
	if k.policy == fanout.Conflate {
		may = append(may, Conflated())
	}
	if k.ops != nil {
		options = append(options, fanout.WithOps(k.ops...))
		may = append(may, Ops(k.ops...))
	}
	if k.start == "state" {
		options = append(options, fanout.WithInitial())
		may = append(may, Initial())
	}
	from := uint64(1)
	if r := w.ring.Revision(); r > slots/2 {
		from = r - slots/2
	}
	for {
		var past []fanout.WatchOption
		if k.start == "past" {
			past = append(past, fanout.FromRevision(from))
		}
		watch, err := w.registry.Watch(context.Background(), k.pattern, append(past, options...)...)
		if compacted := (*fanout.CompactedError)(nil); errors.As(err, &compacted) {
			from = compacted.Oldest
			continue
		}
		if err != nil {
			if !errors.Is(err, fanout.ErrClosed) {
				t.Error(err)
			}
			return nil, nil
		}
		name := fmt.Sprintf("%+v", k)
		r := w.log.Receiver(name, filter, watch.Start(), may...)
		w.mu.Lock()
		w.all = append(w.all, r)
		w.live[name] = r
		w.mu.Unlock()
		return watch, r
	}
}

// consume receives until the dispatcher has ended. Who is ended for lagging
// watches anew.
func (w *world) consume(ctx context.Context, t *testing.T, k kind, watch *fanout.Watcher, r *Receiver) {
	for watch != nil {
		var err error
		if k.slow {
			err = w.crawl(ctx, watch, r)
		} else {
			err = r.Follow(ctx, watch)
		}
		switch {
		case errors.Is(err, fanout.ErrClosed):
			return
		case !errors.Is(err, fanout.ErrLagged):
			t.Errorf("%+v ended: %v", k, err)
			return
		}
		watch, r = w.watch(t, k)
	}
}

// crawl follows a watcher, but lets some revisions pass after each event.
func (w *world) crawl(ctx context.Context, watch *fanout.Watcher, r *Receiver) error {
	for {
		e, err := watch.Next(ctx)
		if err != nil {
			r.End(err)
			return err
		}
		r.Receive(e)
		if e.Op == fanout.Lagged || e.Op == fanout.Reset {
			r.Read(w.read())
		}
		w.pass(stretch)
	}
}

// pass waits until n more revisions are there, or the writer is through.
func (w *world) pass(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for end := w.at + n; w.at < end && !w.over; {
		moved := w.moved
		w.mu.Unlock()
		<-moved
		w.mu.Lock()
	}
}
