package fanouttest_test

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"sync"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fanout/fanouttest"
)

// store is the program under test: a map with a watch.
type store struct {
	ring     *fanout.Ring
	log      *fanouttest.Log // what a test adds
	mu       sync.Mutex
	state    fanouttest.State
	revision uint64
}

// set tells the log, makes the change, and tells the ring, in this order.
func (s *store) set(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	e := &fanout.Event{
		Op: fanout.Put, Key: key, Value: []byte(value),
		Revision: s.revision, PrevRevision: s.state[key].Revision,
	}
	s.log.Commit(e)
	s.state[key] = fanouttest.Entry{Revision: e.Revision, Value: e.Value}
	s.ring.Push(e)
	s.ring.Flush()
}

// read is how a consumer gets back in step.
func (s *store) read() (uint64, fanouttest.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision, maps.Clone(s.state)
}

// report stands in for the *testing.T of a test.
type report struct{}

func (report) Helper()                           {}
func (report) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// A test of a watcher that is too slow: it is told what it loses, and reads again.
func Example() {
	var t report

	ring, _ := fanout.NewRing(fanout.RingOptions{})
	registry, _ := fanout.NewRegistry(fanout.RegistryOptions{})
	dispatcher, _ := fanout.NewDispatcher(ring, registry, fanout.DispatcherOptions{})
	s := &store{ring: ring, log: fanouttest.NewLog(), state: make(fanouttest.State)}

	w, _ := registry.Watch(context.Background(), "app.*", fanout.WithBuffer(2))
	filter, _ := fanout.PatternFilter("app.*")
	r := s.log.Receiver("slow", filter, w.Start(), fanouttest.RereadsWith(s.read))

	for i := range 5 {
		s.set("app.color", fmt.Sprint(i))
		s.set("other", fmt.Sprint(i))
	}

	// The dispatcher delivers all that, and ends; so does the watcher, when what
	// it has is taken.
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { dispatcher.Run(ctx) })
	for dispatcher.Revision() < ring.Revision() {
		runtime.Gosched()
	}
	stop()
	running.Wait()
	fmt.Println(r.Follow(context.Background(), w))

	r.Check(t, s.log.Last())
	fmt.Println("received or flagged through", r.Through())
	// Output:
	// fanout: closed
	// received or flagged through 9
}
