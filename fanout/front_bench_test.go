package fanout

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// publisher is what Ring, Front and a ring behind a mutex have in common.
type publisher interface {
	Push(*Event)
	Flush()
}

// lockedRing is the obvious alternative to a Front: a producer stages for itself,
// and whoever flushes waits for its turn.
type lockedRing struct {
	mu       sync.Mutex
	ring     *Ring
	revision uint64
}

type lockedProducer struct {
	locked *lockedRing
	source uint16
	staged []*Event
}

func (p *lockedProducer) Push(e *Event) {
	e.Source, e.SourceRevision = p.source, e.Revision
	p.staged = append(p.staged, e)
}

func (p *lockedProducer) Flush() {
	l := p.locked
	l.mu.Lock()
	for _, e := range p.staged {
		if e.Batch == 0 {
			l.revision++
		}
		e.Revision = l.revision
		l.ring.Push(e)
	}
	l.ring.Flush()
	l.mu.Unlock()
	clear(p.staged)
	p.staged = p.staged[:0]
}

// BenchmarkFront is what a change costs its producers in bursts of 64 with nobody
// reading, and how much of it a front drops when they do nothing else: the events
// are made beforehand, so two of them outrun one core.
func BenchmarkFront(b *testing.B) {
	b.Run("Ring/producers=1", func(b *testing.B) {
		produce(b, newTestRing(b, DefaultSlots))
	})
	for _, n := range []int{1, 2} {
		b.Run(fmt.Sprintf("Mutex/producers=%d", n), func(b *testing.B) {
			locked := &lockedRing{ring: newTestRing(b, DefaultSlots)}
			var producers []publisher
			for i := range n {
				producers = append(producers, &lockedProducer{locked: locked, source: uint16(i + 1)})
			}
			produce(b, producers...)
		})
		b.Run(fmt.Sprintf("Front/producers=%d", n), func(b *testing.B) {
			f := newTestFront(b, newTestRing(b, DefaultSlots))
			var producers []publisher
			for range n {
				producers = append(producers, newTestProducer(b, f))
			}
			produce(b, producers...)
			b.ReportMetric(float64(f.Dropped())/float64(b.N*burst), "dropped/event")
		})
	}
}

// produce shares b.N bursts out among the producers, each in its own goroutine,
// which also makes the events: on the core that pushes them.
func produce(b *testing.B, producers ...publisher) {
	b.Helper()
	b.ReportAllocs()
	const chunk = 64 // bursts of one producer; few enough that their events are still in the cache
	var revision atomic.Uint64
	pushed := 0
	for done := 0; done < b.N; done += chunk * len(producers) {
		b.StopTimer()
		var ready, finished sync.WaitGroup
		begin := make(chan struct{})
		for _, p := range producers {
			ready.Add(1)
			finished.Go(func() {
				events := make([]Event, chunk*burst)
				for i := range events {
					events[i] = Event{Key: "app.color", Op: Put, Revision: revision.Add(1)}
				}
				ready.Done()
				<-begin
				for i := range events {
					p.Push(&events[i])
					if i%burst == burst-1 {
						p.Flush()
					}
				}
			})
			pushed += chunk * burst
		}
		ready.Wait()
		b.StartTimer()
		close(begin)
		finished.Wait()
	}
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed())/float64(pushed), "ns/event")
}
