package fanout_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/watchcast/watchcast/fanout"
)

// program is what has a watch: it makes changes in one goroutine.
type program struct {
	ring     *fanout.Ring
	registry *fanout.Registry
	revision uint64
	stop     func() // ends the dispatcher and waits for it
}

func start() *program {
	ring, err := fanout.NewRing(fanout.RingOptions{})
	if err != nil {
		panic(err)
	}
	registry, err := fanout.NewRegistry(fanout.RegistryOptions{})
	if err != nil {
		panic(err)
	}
	dispatcher, err := fanout.NewDispatcher(ring, registry, fanout.DispatcherOptions{})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		dispatcher.Run(ctx)
	}()
	return &program{ring: ring, registry: registry, stop: func() { cancel(); <-ended }}
}

func (p *program) set(key, value string) {
	p.revision++
	p.ring.Push(&fanout.Event{Op: fanout.Put, Key: key, Value: []byte(value), Revision: p.revision})
	p.ring.Flush()
}

// watch registers a watcher and, as examples must print the same every time, a
// second one of everything. settle waits until that one has all that was written,
// and ends the dispatcher, so that a loop over the first one ends too.
func (p *program) watch(pattern string, opts ...fanout.WatchOption) (w *fanout.Watcher, settle func()) {
	w, err := p.registry.Watch(context.Background(), pattern, opts...)
	if err != nil {
		panic(err)
	}
	all, err := p.registry.Watch(context.Background(), ">", fanout.WithBuffer(1000))
	if err != nil {
		panic(err)
	}
	return w, func() {
		for seen := uint64(0); seen < p.revision; {
			e, err := all.Next(context.Background())
			if err != nil {
				panic(err)
			}
			seen = e.Revision
		}
		all.Stop()
		p.stop() // which lets it deliver the rest of what it has read, and every watcher be drained
	}
}

func show(e *fanout.Event) {
	if e.Op == fanout.Lagged {
		fmt.Printf("lost %d to %d\n", e.PrevRevision, e.Revision)
		return
	}
	fmt.Printf("%d %s=%s\n", e.Revision, e.Key, e.Value)
}

func showAll(w *fanout.Watcher) {
	for e := range w.Events() {
		show(e)
	}
}

// overrun makes more changes of one key than the watchers below can hold.
func (p *program) overrun() {
	for i := range 5 {
		p.set("app.color", fmt.Sprint(i))
	}
}

func ExampleWatcher_Events() {
	p := start()
	w, settle := p.watch("app.*")
	p.set("app.color", "red")
	p.set("other", "x")
	p.set("app.color", "blue")
	settle()
	for e := range w.Events() {
		show(e)
	}
	fmt.Println(errors.Is(w.Err(), fanout.ErrClosed))
	// Output:
	// 1 app.color=red
	// 3 app.color=blue
	// true
}

func ExampleWatcher_Next() {
	p := start()
	defer p.stop()
	w, err := p.registry.WatchKey(context.Background(), "app.color")
	if err != nil {
		panic(err)
	}
	defer w.Stop()
	p.set("app.color", "red")
	e, err := w.Next(context.Background())
	if err != nil {
		panic(err)
	}
	show(e)
	// Output: 1 app.color=red
}

func ExampleWatcher_Ready() {
	p := start()
	defer p.stop()
	w, err := p.registry.WatchKey(context.Background(), "app.color")
	if err != nil {
		panic(err)
	}
	defer w.Stop()
	p.set("app.color", "red")
	select {
	case <-w.Ready():
		for e, ok := w.TryNext(); ok; e, ok = w.TryNext() {
			show(e)
		}
	case <-context.Background().Done(): // and whatever else the program waits for
	}
	// Output: 1 app.color=red
}

// A channel, for code that selects on many things. It has a goroutine.
func ExampleWatcher_Chan() {
	p := start()
	w, settle := p.watch("app.*")
	p.set("app.color", "red")
	p.set("app.size", "large")
	settle()
	for e := range w.Chan() {
		show(e)
	}
	// Output:
	// 1 app.color=red
	// 2 app.size=large
}

// What fits stays; what comes too late is lost, until there is room.
func ExampleWithPolicy_dropNewest() {
	p := start()
	w, settle := p.watch("app.color", fanout.WithBuffer(2))
	p.overrun()
	settle()
	showAll(w)
	// Output:
	// 1 app.color=0
	// 2 app.color=1
	// lost 3 to 5
}

// The newest stay; the marker comes first.
func ExampleWithPolicy_dropOldest() {
	p := start()
	w, settle := p.watch("app.color", fanout.WithBuffer(2), fanout.WithPolicy(fanout.DropOldest))
	p.overrun()
	settle()
	showAll(w)
	// Output:
	// lost 1 to 3
	// 4 app.color=3
	// 5 app.color=4
}

// The newest of each key stays, and no key is lost.
func ExampleWithPolicy_conflate() {
	p := start()
	w, settle := p.watch("app.*", fanout.WithPolicy(fanout.Conflate))
	for i := range 5 {
		p.set("app.color", fmt.Sprint(i))
		if i == 0 {
			p.set("app.size", "large")
		}
	}
	settle()
	showAll(w)
	// Output:
	// 2 app.size=large
	// 6 app.color=4
}

// Who cannot use a stream with a hole in it is ended by the first one.
func ExampleWithPolicy_cancel() {
	p := start()
	w, settle := p.watch("app.color", fanout.WithBuffer(2), fanout.WithPolicy(fanout.Cancel))
	p.overrun()
	settle()
	showAll(w)
	fmt.Println(w.Err())
	// Output:
	// 1 app.color=0
	// 2 app.color=1
	// fanout: lagged: it lost revision 3 and what followed; read again and watch anew
}

// A watcher that was away goes on where it was.
func ExampleFromRevision() {
	p := start()
	for i := range 3 {
		p.set("app.color", fmt.Sprint(i))
	}
	w, settle := p.watch("app.color", fanout.FromRevision(2))
	p.set("app.color", "new")
	settle()
	showAll(w)
	// Output:
	// 2 app.color=1
	// 3 app.color=2
	// 4 app.color=new
}

// Two Raft groups, each with a log and an apply goroutine of its own, share a
// registry. Each group's changes come in its order.
func ExampleFront() {
	p := start()
	defer p.stop()
	front, err := fanout.NewFront(p.ring)
	if err != nil {
		panic(err)
	}
	var watchers []*fanout.Watcher
	for group, keys := range []string{"accounts", "orders"} {
		w, err := p.registry.Watch(context.Background(), keys+".>")
		if err != nil {
			panic(err)
		}
		watchers = append(watchers, w)
		producer, err := front.Producer()
		if err != nil {
			panic(err)
		}
		go func() {
			index := uint64(1000 * (group + 1)) // where the group's log is
			for i := range uint64(3) {
				producer.Push(&fanout.Event{Op: fanout.Put, Key: keys + ".last", Value: fmt.Append(nil, i), Revision: index + i})
				producer.Flush()
			}
		}()
	}
	for _, w := range watchers {
		for range 3 {
			e, err := w.Next(context.Background())
			if err != nil {
				panic(err)
			}
			fmt.Printf("group %d at %d: %s=%s\n", e.Source, e.SourceRevision, e.Key, e.Value)
		}
	}
	// Output:
	// group 1 at 1000: accounts.last=0
	// group 1 at 1001: accounts.last=1
	// group 1 at 1002: accounts.last=2
	// group 2 at 2000: orders.last=0
	// group 2 at 2001: orders.last=1
	// group 2 at 2002: orders.last=2
}
