package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
)

// load is clients that write without pause, each through one broker, and what was
// acknowledged.
type load struct {
	t      *testing.T
	cancel context.CancelFunc
	wg     sync.WaitGroup
	size   atomic.Int64 // of the longest value

	mu    sync.Mutex
	acked map[uint64][]nats.Operation
	total int // of acknowledgements
}

// writtenKeys are how many keys each client changes again and again. Beside them it makes
// keys that nobody changes any more: what is lost of these no later event shows.
const writtenKeys = 8

// valueSize is how long the longest values usually are.
const valueSize = 1000

// newLoad begins to write with each client, until finish or the end of the test.
func newLoad(t *testing.T, seed uint64, clients []*nats.Client) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, cancel: cancel, acked: make(map[uint64][]nats.Operation)}
	l.size.Store(valueSize)
	for i, c := range clients {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		l.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				l.write(ctx, c, l.next(rng, i, n))
			}
		})
	}
	t.Cleanup(l.finish)
	return l
}

// finish returns when nobody writes any more.
func (l *load) finish() {
	l.cancel()
	l.wg.Wait()
}

func keyOf(client, i int) string { return fmt.Sprintf("k.%d.%d", client, i) }

// next returns what a client writes: several operations are a batch.
func (l *load) next(rng *rand.Rand, client, n int) []nats.Operation {
	key := func(i int) string { return keyOf(client, i%writtenKeys) }
	value := fmt.Append(nil, n, strings.Repeat(".", rng.IntN(int(l.size.Load()))))
	first := rng.IntN(writtenKeys)
	switch rng.IntN(6) {
	case 0:
		return []nats.Operation{{Key: key(first), Delete: true}}
	case 1:
		return []nats.Operation{{Key: key(first), Value: value}, {Key: key(first + 1), Value: value}, {Key: fmt.Sprintf("once.%d.%d", client, n), Value: value}}
	case 2:
		return []nats.Operation{{Key: fmt.Sprintf("once.%d.%d", client, n), Value: value}}
	}
	return []nats.Operation{{Key: key(first), Value: value}}
}

// write makes one change, and returns its revision; 0 if it was not acknowledged.
func (l *load) write(ctx context.Context, c *nats.Client, all []nats.Operation) (revision uint64) {
	var err error
	switch {
	case len(all) > 1:
		revision, err = c.Batch(ctx, all)
	case all[0].Delete:
		revision, err = c.Delete(ctx, all[0].Key)
	default:
		revision, err = c.Put(ctx, all[0].Key, all[0].Value)
	}
	switch {
	case err == nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.acked[revision] = all
		l.total++
	case ctx.Err() == nil && !errors.Is(err, &nats.Error{Code: nats.CodeNotFound}):
		l.t.Logf("not acknowledged: %v", err) // who asks for so long may be told that nobody knows
	}
	return revision
}

// more waits for that many more acknowledgements.
func (l *load) more(n int) {
	l.t.Helper()
	begin := l.count()
	eventually(l.t, fmt.Sprintf("%d more writes are acknowledged", n), func() bool { return l.count() >= begin+n })
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// check holds that all that was acknowledged was committed, as it was said.
func (l *load) check(committed []*fanout.Event) {
	l.t.Helper()
	type place struct {
		revision uint64
		key      string
	}
	there := make(map[place]*fanout.Event)
	for _, e := range committed {
		there[place{e.Revision, e.Key}] = e
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for revision, all := range l.acked {
		for _, o := range all {
			e := there[place{revision, o.Key}]
			if e == nil || (e.Op == fanout.Delete) != o.Delete || string(e.Value) != string(o.Value) {
				l.t.Errorf("%+v was acknowledged at revision %d, and there is %+v", o, revision, e)
			}
		}
	}
}
