package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
)

// client returns a client over an ordinary connection.
func client(t *testing.T, url string, change ...func(*nats.ClientOptions)) *nats.Client {
	t.Helper()
	return clientOn(t, connect(t, url, nats.ClientConn()...), change...)
}

// clientOn returns a client over that connection.
func clientOn(t *testing.T, conn *natsgo.Conn, change ...func(*nats.ClientOptions)) *nats.Client {
	t.Helper()
	o := nats.ClientOptions{Conn: conn, Timeout: patience}
	for _, f := range change {
		f(&o)
	}
	c, err := nats.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func wantCode(t *testing.T, what string, err error, code nats.Code) {
	t.Helper()
	if !errors.Is(err, &nats.Error{Code: code}) {
		t.Errorf("%s: %v; want code %d", what, err, code)
	}
}

// TestClientBatchOfLongValues: a batch of bytes that JSON writes out at length, as text, takes
// a third more than they do at most.
func TestClientBatchOfLongValues(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	c := client(t, n.NATSURL())
	for name, piece := range map[string]string{
		"zeros": "\x00", "quotes": `"`, "markup": "<a>", "separators": "\u2028", "no text": "\xff", "Windows lines": "a line\r\n",
	} {
		value := bytes.Repeat([]byte(piece), 700<<10/len(piece))
		if _, err := c.Batch(bounded(t), []nats.Operation{{Key: "k", Value: value}}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e, err := n.Get(bounded(t), "k"); err != nil || !bytes.Equal(e.Value, value) {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(e.Value), err, len(value))
		}
	}
}

// TestClient: what the service offers, by the client.
func TestClient(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	c := client(t, n.NATSURL())
	ctx := bounded(t)
	first, err := c.Put(ctx, "a b", []byte{0xff, 0})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := c.Get(ctx, "a b"); err != nil || string(e.Value) != "\xff\x00" || e.Revision != first || e.TTL != 0 {
		t.Errorf("get: %+v, %v", e, err)
	}
	_, err = c.CompareAndSet(ctx, "a b", first+1, nil)
	wantCode(t, "compare and set at a revision that is not there", err, nats.CodeConflict)
	second, err := c.CompareAndSet(ctx, "a b", first, []byte("two"))
	if err != nil || second <= first {
		t.Errorf("compare and set: %d, %v", second, err)
	}
	if _, err := c.Put(ctx, "short", nil, nats.TTL(time.Hour)); err != nil {
		t.Error(err)
	}
	if e, err := c.Get(ctx, "short", nats.StaleRead(second)); err != nil || len(e.Value) != 0 {
		t.Errorf("stale get: %+v, %v", e, err)
	}
	if e, err := c.Get(ctx, "short"); err != nil || e.TTL <= 0 || e.TTL > time.Hour {
		t.Errorf("get of a key that expires: %+v, %v", e, err)
	}
	both, err := c.Batch(ctx, []nats.Operation{
		{Key: "x", Value: []byte{0xfe}},
		{Key: "a b", Delete: true, IfRevision: &second},
	})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := c.Get(ctx, "x"); err != nil || string(e.Value) != "\xfe" || e.Revision != both {
		t.Errorf("get: %+v, %v", e, err)
	}
	_, err = c.Get(ctx, "a b")
	wantCode(t, "get of a deleted key", err, nats.CodeNotFound)
	_, err = c.Delete(ctx, "a b")
	wantCode(t, "delete of a deleted key", err, nats.CodeNotFound)
	_, err = c.Batch(ctx, nil)
	wantCode(t, "a batch of nothing", err, nats.CodeBadRequest)
	_, err = c.Batch(ctx, []nats.Operation{{Key: "y"}}, nats.IfRevision(1))
	wantCode(t, "a batch with a condition of its own", err, nats.CodeBadRequest)
	_, err = c.Put(ctx, "", nil)
	wantCode(t, "an empty key", err, nats.CodeBadRequest)
	_, err = c.Put(ctx, "long", make([]byte, 2<<20))
	wantCode(t, "a value longer than a message", err, nats.CodeTooLarge)
	again, err := c.Put(ctx, "id", nil, nats.RequestID("mine"))
	if repeat, err2 := c.Put(ctx, "id", nil, nats.RequestID("mine")); err != nil || err2 != nil || repeat != again {
		t.Errorf("the same request twice: %d and %d, %v, %v", again, repeat, err, err2)
	}
	if at, err := c.Revision(ctx); err != nil || at < again {
		t.Errorf("revision %d, %v; want %d or more", at, err, again)
	}
}

// TestClientLists: lists and what has changed, of more keys than go into a chunk.
func TestClientLists(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	c := client(t, n.NATSURL())
	ctx := bounded(t)
	const keys = 300
	value := make([]byte, 1000)
	for i := range keys {
		put(t, n, fmt.Sprintf("k.%03d", i), string(value))
	}
	before := n.Revision()
	if _, err := n.Delete(ctx, "k.007"); err != nil {
		t.Fatal(err)
	}
	last := put(t, n, "k.008", "new")
	l, err := c.List(ctx, "k.*")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for e, err := range l.All() {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Key)
	}
	if l.Revision() != last || len(names) != keys-1 || names[0] != "k.000" || names[7] != "k.008" || names[keys-2] != fmt.Sprintf("k.%03d", keys-1) {
		t.Errorf("listed %d keys at revision %d: %.100q", len(names), l.Revision(), names)
	}
	changes, err := c.Since(ctx, ">", before, nats.StaleRead(last))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]fanout.Op)
	for e, err := range changes.All() {
		if err != nil {
			t.Fatal(err)
		}
		got[e.Key] = e.Op
	}
	if len(got) != 2 || got["k.007"] != fanout.Delete || got["k.008"] != fanout.Put || changes.Revision() != last {
		t.Errorf("since %d, through %d: %v", before, changes.Revision(), got)
	}
	_, err = c.Since(ctx, ">", last+1000)
	wantCode(t, "since a revision that is to come", err, nats.CodeGone)
	_, err = c.List(ctx, "a..*")
	wantCode(t, "a pattern with an empty token", err, nats.CodeBadRequest)
}

// TestClientGivesUp: without a leader a request ends with its context or its time, and
// says what is known of the outcome.
func TestClientGivesUp(t *testing.T) {
	t.Parallel()
	broker := lead(t, single(t)) // its node answers under another root
	c := client(t, broker.NATSURL(), func(o *nats.ClientOptions) {
		o.Subjects = nats.Subjects{Watch: "other", KV: "nobody"}
		o.Timeout = 300 * time.Millisecond
	})
	eventually(t, "a put that nobody has received is known to be none", func() bool {
		// The time may run out while the last attempt is on its way; then it is not known.
		_, err := c.Put(context.Background(), "k", nil)
		return errors.Is(err, &nats.Error{Code: nats.CodeUnavailable})
	})
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, &nats.Error{Code: nats.CodeUnavailable}) {
		t.Errorf("get where nobody answers: %v", err)
	}
	deaf := connect(t, broker.NATSURL())
	if _, err := deaf.Subscribe("nobody.put.k", func(*natsgo.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := deaf.Flush(); err != nil {
		t.Fatal(err)
	}
	_, err := c.Put(context.Background(), "k", nil)
	wantCode(t, "put that somebody has received", err, nats.CodeUnknown)
	canceled, stop := context.WithCancelCause(context.Background())
	cause := errors.New("enough")
	stop(cause)
	if _, err := c.Put(canceled, "k", nil); !errors.Is(err, cause) {
		t.Errorf("put with a context that has ended: %v", err)
	}
}

// TestClientOnce: writers count in one key while the leader goes away. Their requests are
// repeated until they are answered, and none of them counts twice.
func TestClientOnce(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	const writers, each = 4, 40
	ctx := bounded(t)
	half := make(chan struct{}, writers)
	var wg sync.WaitGroup
	for i := range writers {
		c := client(t, others[i%2].NATSURL())
		wg.Go(func() {
			for j := range each {
				if j == each/2 {
					half <- struct{}{}
				}
				for counted := false; !counted; {
					e, err := c.Get(ctx, "count")
					if err != nil && !errors.Is(err, &nats.Error{Code: nats.CodeNotFound}) {
						t.Errorf("get: %v", err)
						return
					}
					n, _ := strconv.Atoi(string(e.Value))
					_, err = c.CompareAndSet(ctx, "count", e.Revision, []byte(strconv.Itoa(n+1)))
					switch {
					case err == nil:
						counted = true
					case !errors.Is(err, &nats.Error{Code: nats.CodeConflict}):
						t.Errorf("compare and set: %v", err)
						return
					}
				}
			}
		})
	}
	for range writers {
		select {
		case <-half:
		case <-ctx.Done():
			t.Fatal("nobody can write")
		}
	}
	stop(t, leader)
	wg.Wait()
	if t.Failed() {
		return
	}
	if e, err := client(t, others[0].NATSURL()).Get(ctx, "count"); err != nil || string(e.Value) != strconv.Itoa(writers*each) {
		t.Errorf("counted to %s, %v; want %d", e.Value, err, writers*each)
	}
}
