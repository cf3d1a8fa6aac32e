//go:build docker

package e2e

import (
	"fmt"
	"maps"
	"regexp"
	"sync"
	"testing"
)

// writer puts one new key after another with the nats command, at whichever
// node answers, and keeps what was acknowledged.
type writer struct {
	cluster *cluster
	stop    chan struct{}
	done    sync.WaitGroup

	mu    sync.Mutex
	acked map[string]string // key to value
	tries int
}

var revision = regexp.MustCompile(`Watch-Rev: \d+`)

func startWriter(t *testing.T, c *cluster) *writer {
	w := &writer{cluster: c, stop: make(chan struct{}), acked: make(map[string]string)}
	all := node{&process{t: t}, c.urls()}
	w.done.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-w.stop:
				return
			default:
			}
			key, value := fmt.Sprintf("e2e.w%d", i), fmt.Sprintf("value-%d", i)
			ok := revision.MatchString(all.nats("--timeout", "2s", "req", "kv.put."+key, value))
			w.mu.Lock()
			w.tries++
			if ok {
				w.acked[key] = value
			}
			w.mu.Unlock()
		}
	})
	t.Cleanup(w.end)
	return w
}

// end stops writing; it may be called more than once, by one goroutine.
func (w *writer) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.done.Wait()
}

// acknowledged returns what was acknowledged so far.
func (w *writer) acknowledged() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.acked)
}

// goesOn waits until n more writes were acknowledged.
func (w *writer) goesOn(n int) {
	w.cluster.t.Helper()
	target := len(w.acknowledged()) + n
	w.cluster.eventually("writes go on", func() bool { return len(w.acknowledged()) >= target })
}
