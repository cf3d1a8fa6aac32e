package node

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/watchcast/watchcast/nats"
)

// TestClientWriteOnAConnectionGivenUp: who stops waiting for a write that went out on a
// connection that was given up since is told that it may have taken effect.
func TestClientWriteOnAConnectionGivenUp(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	k := newLink(t, strings.TrimPrefix(n.NATSURL(), "nats://"), recording)
	conn := linkConn(t, k)
	c := clientOn(t, conn)
	k.hold(false, true)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { _, err := c.Put(ctx, "a", nil); done <- err }()
	eventually(t, "the write has gone out", func() bool { return k.saw("kv.put.a") })
	k.refuse(true)
	if err := conn.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "the write", within(t, "Put", func() error { return <-done }), nats.CodeUnknown)
}

// TestClientWatchBeginsBesideACut: the connection breaks while a watch is being made. It is
// made on the next one.
func TestClientWatchBeginsBesideACut(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	put(t, n, "a", "1")
	k := newLink(t, strings.TrimPrefix(n.NATSURL(), "nats://"), recording)
	c := clientOn(t, linkConn(t, k))
	k.hold(false, true)
	type made struct {
		w   *nats.Watch
		err error
	}
	done := make(chan made, 1)
	ctx := bounded(t)
	go func() {
		w, err := c.Watch(ctx, ">", nats.WatchOptions{})
		done <- made{w, err}
	}()
	eventually(t, "the broker is asked whether it knows", func() bool { return k.saw("SUB watch.>  3\r\nPING\r\n") })
	k.hold(false, false)
	k.cut()
	m := within(t, "Watch", func() made { return <-done })
	if m.err != nil {
		t.Fatal(m.err)
	}
	for {
		u, err := m.w.Next(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if u.Kind == nats.Synced {
			return
		}
	}
}

// TestClientOverASlowLink: an answer, or a request, that takes longer on its way than the
// client waits before it sends the request again, counts when it comes.
func TestClientOverASlowLink(t *testing.T) {
	t.Parallel()
	const size, rate = 400 << 10, 100 << 10 // four seconds
	n := lead(t, single(t))
	value := strings.Repeat("x", size)
	put(t, n, "a", value)
	for name, ask := range map[string]func(*nats.Client) (string, error){
		"get": func(c *nats.Client) (string, error) {
			e, err := c.Get(bounded(t), "a")
			return string(e.Value), err
		},
		"put": func(c *nats.Client) (string, error) {
			if _, err := c.Put(bounded(t), "b", []byte(value)); err != nil {
				return "", err
			}
			e, err := n.Get(bounded(t), "b")
			return string(e.Value), err
		},
		"list": func(c *nats.Client) (got string, err error) {
			l, err := c.List(bounded(t), "a")
			if err != nil {
				return "", err
			}
			for e, err := range l.All() {
				if err != nil {
					return "", err
				}
				got = string(e.Value)
			}
			return got, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newLink(t, strings.TrimPrefix(n.NATSURL(), "nats://"))
			c := clientOn(t, linkConn(t, k))
			k.slow(rate, rate)
			if got, err := ask(c); err != nil || got != value {
				t.Errorf("%d bytes, %v; want %d", len(got), err, len(value))
			}
		})
	}
}

// TestClientWatchOverASlowLink: what the leader says comes late where a long list is on its
// way before it. The connection is not given up for that, again and again.
func TestClientWatchOverASlowLink(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	for i := range 100 {
		put(t, n, fmt.Sprint(i), strings.Repeat("x", 10<<10))
	}
	k := newLink(t, strings.TrimPrefix(n.NATSURL(), "nats://"))
	c := clientOn(t, linkConn(t, k))
	k.slow(0, 100<<10) // ten seconds
	m := mirrorOf(t, c, ">", nats.WatchOptions{})
	m.equals("over a slow link", state(t, n, ">"))
}
