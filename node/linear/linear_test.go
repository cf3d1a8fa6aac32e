package linear

import (
	"context"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

var (
	duration = flag.Duration("linear.time", 4*time.Second, "how long each test of linearizability makes faults")
	chosen   = flag.Uint64("linear.seed", 0, "what to make the faults and requests from; 0 for a new one")
)

// torture has clients work while faults come and go, then reads everything, and
// checks what all have seen.
func torture(t *testing.T, c cluster, net *network, clients, readers []api, last api) {
	t.Helper()
	seed := *chosen
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-linear.seed=%d", seed)
	l := &load{t: t, history: newHistory()}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i, a := range clients {
		wg.Go(func() { l.client(ctx, i, seed, a) })
	}
	for i, a := range readers {
		wg.Go(func() { l.reader(ctx, len(clients)+i, seed, a) })
	}
	eventually(t, "the clients get on", func() bool { return l.done.Load() > 100 })

	f := &faults{t: t, cluster: c, net: net, rng: rand.New(rand.NewPCG(seed, 0))}
	breaking, stop := context.WithTimeout(ctx, *duration)
	defer stop()
	f.run(breaking)
	t.Logf("faults: %s", f)

	mended := l.done.Load()
	eventually(t, "the clients get on again", func() bool { return l.done.Load() > mended+100 })
	cancel()
	wg.Wait()
	reading, enough := context.WithTimeout(context.Background(), patience)
	defer enough()
	l.readAll(reading, len(clients)+len(readers), last)
	l.history.mustHold(t)
}
