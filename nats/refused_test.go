package nats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// chatter is a dialer of connections on which the program draws a refusal right behind some of
// what it sends, as if it published from another goroutine just then.
type chatter struct {
	behind string
	left   atomic.Int32 // how often it still does
}

type chattingConn struct {
	net.Conn
	*chatter
}

func (d *chatter) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return chattingConn{conn, d}, err
}

func (c chattingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil && bytes.Contains(p, []byte(c.behind)) && c.left.Add(-1) >= 0 {
		_, err = c.Conn.Write([]byte("PUB forbidden 0\r\n\r\n"))
	}
	return n, err
}

// TestRefusedAmongOthers: what a user may not do is told, though the broker refuses something
// else right behind it; and who may is not told otherwise.
func TestRefusedAmongOthers(t *testing.T) {
	watch := func(ctx context.Context, c *Client) error {
		w, err := c.Watch(ctx, "k", WatchOptions{Raw: true})
		if err != nil {
			return err
		}
		w.Stop()
		if n := c.o.Conn.NumSubscriptions(); n != 2 && n != 3 { // of the pulse, and of answers
			return fmt.Errorf("%d subscriptions are left", n)
		}
		return nil
	}
	put := func(ctx context.Context, c *Client) error {
		_, err := c.Put(context.WithoutCancel(ctx), "k", nil)
		return err
	}
	list := func(ctx context.Context, c *Client) error {
		_, err := c.List(context.WithoutCancel(ctx), "k")
		return err
	}
	// More often than a request is sent until its time is over, less than it is asked for.
	const many, always = 8, 1 << 30
	for name, test := range map[string]struct {
		behind             string
		times              int32
		publish, subscribe []string
		do                 func(context.Context, *Client) error
		want               error
	}{
		"events":         {"SUB watch.k ", 3, []string{"kv.>"}, []string{"_watch.>", "_INBOX.>"}, watch, nats.ErrPermissionViolation},
		"beacon":         {"SUB watch.k ", 3, []string{"kv.>"}, []string{"watch.>", "_INBOX.>"}, watch, nats.ErrPermissionViolation},
		"nothing":        {"SUB watch.k ", 3, []string{"kv.>"}, []string{"watch.>", "_watch.>", "_INBOX.>"}, watch, nil},
		"nothing, ever":  {"SUB watch.k ", always, []string{"kv.>"}, []string{"watch.>", "_watch.>", "_INBOX.>"}, watch, nil},
		"put":            {"PUB kv.put.k ", many, []string{"kv.get.>"}, []string{"_INBOX.>"}, put, nats.ErrPermissionViolation},
		"list":           {"PUB kv.list.k ", many, []string{"kv.get.>"}, []string{"_INBOX.>"}, list, nats.ErrPermissionViolation},
		"inbox":          {"SUB _INBOX.", many, []string{"kv.>"}, []string{"_watch.>"}, list, nats.ErrPermissionViolation},
		"a put that may": {"PUB kv.put.k ", many, []string{"kv.>"}, []string{"_INBOX.>"}, put, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &chatter{behind: test.behind}
			d.left.Store(test.times)
			c, all := forUser(t, test.publish, test.subscribe, nats.SetCustomDialer(d))
			var asked atomic.Int32
			if _, err := all.Subscribe("kv.*.k", func(m *nats.Msg) {
				if m.Reply != "" && asked.Add(1) > 1 { // the first one is left without an answer
					m.RespondMsg(&nats.Msg{Header: nats.Header{HeaderRev: {"7"}}})
				}
			}); err != nil {
				t.Fatal(err)
			}
			flush(t, testContext(t), all)
			if err := test.do(testContext(t), c); !errors.Is(err, test.want) {
				t.Errorf("it ends with %v, want %v", err, test.want)
			}
		})
	}
}

// TestManyRefusedAtOnce: of many that may not, and ask at the same time, each is told.
func TestManyRefusedAtOnce(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	c, _ := forUser(t, []string{"nothing"}, []string{"watch.ok.>", "_watch.>", "_INBOX.>"})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if _, err := c.Watch(ctx, fmt.Sprintf("ok.%d", i), WatchOptions{Raw: true}); err != nil {
				t.Errorf("watch %d of what may be heard: %v", i, err)
			}
		})
		wg.Go(func() {
			if _, err := c.Watch(ctx, fmt.Sprintf("no.%d", i), WatchOptions{Raw: true}); !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("watch %d of what may not: %v", i, err)
			}
		})
		wg.Go(func() {
			if _, err := c.Put(ctx, fmt.Sprintf("no.%d", i), nil); !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("put %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// TestAskingDoesNothing: a request that is made to know whether it may be is carried out by
// nobody, and is no defect.
func TestAskingDoesNothing(t *testing.T) {
	k := startKV(t, newMapBackend())
	c, err := NewClient(ClientOptions{Conn: k.client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, subject := range []string{"kv.put.a", "kv.delete.a", "kv.get.a", "kv.batch", "kv.list", "kv.list.a", "kv.since"} {
		if err := c.askFor(k.ctx, toPublish, subject); err != nil {
			t.Fatal(err)
		}
		k.request(subject, ">", nil) // it is behind the other one
	}
	if n := len(k.backend.writes()); n != 2 { // a put and a delete
		t.Errorf("%d writes were carried out", n)
	}
	if log := k.log.String(); log != "" {
		t.Errorf("the service has logged\n%s", log)
	}
}

// TestTooManySubscriptions: a watch for which the broker has no subscription left is not made.
func TestTooManySubscriptions(t *testing.T) {
	broker, _ := startBroker(t, func(o *server.Options) { o.MaxSubs = 2 })
	c, err := NewClient(ClientOptions{Conn: dial(t, broker.ClientURL(), ClientConn()...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Watch(testContext(t), "k", WatchOptions{Raw: true}); !errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		t.Errorf("the watch: %v", err)
	}
}

// TestRefusedConnectionIsOneLoss: a client that is let in no more, as with credentials that have
// expired, and tries again for ever, has lost its connection once. That is told when it is back.
func TestRefusedConnectionIsOneLoss(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	var options *server.Options
	user := func(password string) []*server.User { return []*server.User{{Username: "some", Password: password}} }
	broker, _ := startBroker(t, func(o *server.Options) {
		o.Users = user("x")
		options = o.Clone()
	})
	options.Port = broker.Addr().(*net.TCPAddr).Port
	letIn := func(password string) {
		t.Helper()
		o := options.Clone()
		o.Users = user(password)
		if err := broker.ReloadOptions(o); err != nil {
			t.Fatal(err)
		}
	}
	conn := dial(t, broker.ClientURL(), append(ClientConn(), nats.UserInfo("some", "x"), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))...)
	c, err := NewClient(ClientOptions{Conn: conn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w, err := c.Watch(ctx, "k", WatchOptions{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	letIn("another")
	// The pulse looks meanwhile, at each try and each tick.
	eventually(t, ctx, "it has tried often", func() bool { return conn.Stats().Reconnects > 20 })
	if n := w.Stats().Losses; n > 1 {
		t.Errorf("it has lost something %d times", n)
	}
	letIn("x")
	for lost := 0; ; {
		u, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if u.Kind == Lost {
			if lost++; lost > 1 {
				t.Fatalf("it is told again: %+v", u)
			}
			if conn.IsConnected() {
				break
			}
		}
	}
	eventually(t, ctx, "the loss is counted", func() bool { return w.Stats().Losses > 0 })
}
