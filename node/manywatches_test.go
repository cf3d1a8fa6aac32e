package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/nats"
)

// TestManyWatchesOverASlowLink: many watches of one client have much to ask for at the same
// time, over a slow link. The broker does not cut the client off for what it has asked for,
// after which each of them would ask again.
func TestManyWatchesOverASlowLink(t *testing.T) {
	t.Parallel()
	const watches, keys, size, rate = 40, 24, 64 << 10, 8 << 20 // 60 MiB in all: 7.5 s
	n := lead(t, single(t))
	k := newLink(t, strings.TrimPrefix(n.NATSURL(), "nats://"))
	c := clientOn(t, linkConn(t, k))
	var all []*mirror
	for range watches {
		all = append(all, mirrorOf(t, c, ">", nats.WatchOptions{}))
	}
	put(t, n, "first", "x")
	want := state(t, n, ">")
	for _, m := range all {
		m.equals("at the beginning", want)
	}
	k.refuse(true)
	for i := range keys {
		put(t, n, fmt.Sprint(i), strings.Repeat("x", size))
	}
	k.slow(0, rate)
	k.refuse(false)
	want = state(t, n, ">")
	for _, m := range all {
		m.equals("over a slow link", want)
	}
	if cut := n.broker.slowClients(); cut > 0 {
		t.Errorf("the client was cut off %d times", cut)
	}
}
