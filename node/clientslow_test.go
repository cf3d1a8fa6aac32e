package node

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/nats"
)

// TestClientWatchOfLongValues: a value that takes longer than a broker is given to answer, or
// than the one before, is on its way all the same, and what is behind it.
func TestClientWatchOfLongValues(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]struct{ values, size, rate int }{
		"one":                {1, 400 << 10, 50 << 10},  // eight seconds
		"one after another":  {2, 700 << 10, 100 << 10}, // seven, each
		"short ones, slowly": {60, 10 << 10, 30 << 10},  // twenty until the broker is heard
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := lead(t, single(t))
			for i := range o.values {
				put(t, n, fmt.Sprint(i), strings.Repeat("x", o.size))
			}
			k := newLink(t, strings.TrimPrefix(n.NATSURL(), "nats://"))
			c := clientOn(t, linkConn(t, k))
			k.slow(0, o.rate)
			m := mirrorOf(t, c, ">", nats.WatchOptions{})
			m.equals("over a slow link", state(t, n, ">"))
		})
	}
}

// TestClientPutsALongValueOnce: what is still on its way is not sent again behind itself.
func TestClientPutsALongValueOnce(t *testing.T) {
	t.Parallel()
	const size, rate = 1000 << 10, 100 << 10 // ten seconds
	n := lead(t, single(t))
	k := newLink(t, strings.TrimPrefix(n.NATSURL(), "nats://"), recording)
	conn := linkConn(t, k)
	c := clientOn(t, conn)
	k.slow(rate, rate)
	if _, err := c.Put(bounded(t), "a", bytes.Repeat([]byte("x"), size)); err != nil {
		t.Fatal(err)
	}
	// A node on a busy machine may need more than an attempt's time when it has it all.
	if out := conn.Stats().OutBytes; out > size*5/2 {
		t.Errorf("%d bytes were sent, for a value of %d", out, size)
	}
	if conn.Stats().Reconnects > 0 {
		t.Errorf("the connection was given up")
	}
}
