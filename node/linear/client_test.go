package linear

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// api is one of the two ways to the nodes. do returns false if it is sure that
// nothing was changed or read.
type api interface {
	do(ctx context.Context, in input) (output, bool)
}

// load makes clients work until it ends.
type load struct {
	t       *testing.T
	history *history
	spent   atomic.Uint64 // of keys; see key
	done    atomic.Uint64 // requests that were carried out
}

const (
	keysAtOnce = 3
	keyBudget  = 600 // requests on keysAtOnce keys before others take their place
	unknownIs  = 100 // so much of it: those are what makes a search long

	retry = 10 * time.Millisecond // after a request that was turned away
)

// key picks one of a few keys that all clients use for a while.
func (l *load) key(rng *rand.Rand) string {
	return fmt.Sprintf("k%d.%d", l.spent.Load()/keyBudget, rng.IntN(keysAtOnce))
}

// client makes requests, one after the other, until ctx ends.
func (l *load) client(ctx context.Context, id int, seed uint64, a api) {
	rng := rand.New(rand.NewPCG(seed, uint64(id)))
	last := make(map[string]uint64) // revision of each key, as this client knows it
	for n := 0; ctx.Err() == nil; n++ {
		in := input{key: l.key(rng)}
		revision, known := last[in.key]
		switch p := rng.IntN(100); {
		case p < 40:
			in.operation = get
		case p < 55:
			in.operation = put
		case p < 80 && known:
			in.operation = put
			in.condition, in.ifRevision = true, revision
		case p < 90:
			in.operation = put
			in.condition = true
		case p < 95 || !known:
			in.operation = remove
		default:
			in.operation = remove
			in.condition, in.ifRevision = true, revision
		}
		if in.operation == put {
			in.value = fmt.Sprintf("c%d.%d", id, n)
		}
		out, ok := l.request(ctx, id, a, in)
		switch {
		case !ok:
			select { // nobody leads, as far as this client can find out
			case <-time.After(retry):
			case <-ctx.Done():
			}
		case out.result == done && in.operation != remove:
			last[in.key] = out.revision
		case out.result != conflict:
			delete(last, in.key)
		}
	}
}

const (
	readPeriod = 10 * time.Millisecond
	readsAhead = 8 // under way at a time; with more a search may not end
)

// reader reads at a steady pace, without waiting for answers, until ctx ends. So
// there are questions on their way to a node that is paused, of which some come
// from after another one took over: what it must not answer from what it has.
func (l *load) reader(ctx context.Context, id int, seed uint64, a api) {
	rng := rand.New(rand.NewPCG(seed, uint64(id)))
	tick := time.NewTicker(readPeriod)
	defer tick.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	ahead := make(chan struct{}, readsAhead)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		select {
		case ahead <- struct{}{}:
		default:
			continue
		}
		in := input{operation: get, key: l.key(rng)}
		wg.Go(func() {
			l.request(ctx, id, a, in)
			<-ahead
		})
	}
}

// request makes one request and records it.
func (l *load) request(ctx context.Context, id int, a api, in input) (output, bool) {
	call := l.history.now()
	out, ok := a.do(ctx, in)
	if !ok && in.operation != get {
		l.history.turnedAway(call, in, out)
	}
	if !ok || out.result == unknown && in.operation == get {
		return output{}, false
	}
	l.history.add(id, call, in, out)
	if out.result == unknown {
		l.spent.Add(unknownIs)
	} else {
		l.spent.Add(1)
		l.done.Add(1)
	}
	return out, true
}

// readAll reads every key once more, now that nothing is broken: what was
// acknowledged is still there.
func (l *load) readAll(ctx context.Context, id int, a api) {
	l.t.Helper()
	for _, key := range l.history.keys() {
		for ok := false; !ok; {
			if _, ok = l.request(ctx, id, a, input{operation: get, key: key}); ctx.Err() != nil {
				l.t.Fatalf("%s cannot be read within %v of the last fault", key, patience)
			}
		}
	}
}
