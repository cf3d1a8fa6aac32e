package nats

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/watchcast/watchcast/fanout"
)

// Stands, List and Since make a mapBackend a [Lister].
func (b *mapBackend) Stands() (uint64, error) { return b.Revision(), nil }

func (b *mapBackend) Revision() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.revision
}

func (b *mapBackend) List(filter fanout.Filter) (Listing, error) { return b.listing(filter, 0) }

func (b *mapBackend) Since(filter fanout.Filter, revision uint64) (Listing, error) {
	if at := b.Revision(); revision < b.oldest || revision > at {
		return Listing{}, &GoneError{fmt.Sprintf("the oldest is %d", b.oldest), b.oldest}
	}
	return b.listing(filter, revision)
}

func (b *mapBackend) listing(filter fanout.Filter, since uint64) (Listing, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		return Listing{}, b.refuse
	}
	b.listed++
	entries, i := maps.Clone(b.entries), 0
	keys := slices.Sorted(maps.Keys(entries))
	return Listing{Revision: b.revision, Next: func() (Change, bool) {
		for ; i < len(keys); i++ {
			if e := entries[keys[i]]; e.Revision > since && filter.Match(keys[i]) {
				c := Change{Op: fanout.Put, Key: keys[i], Value: e.Value, Revision: e.Revision, TTL: e.TTL}
				i++
				return c, true
			}
		}
		return Change{}, false
	}}, nil
}

// fill puts n keys with values of a size.
func (b *mapBackend) fill(n, size int) {
	for i := range n {
		value := fmt.Appendf(make([]byte, 0, size), "%d", i)
		b.Write(Operation{Key: fmt.Sprintf("k.%06d", i), Value: value[:size]}, "")
	}
}

// startListingKV is startKV with bounds of its own.
func startListingKV(t testing.TB, backend *mapBackend, bounds ServiceOptions, change ...func(*server.Options)) *kv {
	t.Helper()
	k := &kv{t: t, ctx: testContext(t), backend: backend, log: new(lockedBuffer)}
	k.broker, _ = startBroker(t, change...)
	k.client = dial(t, k.broker.ClientURL())
	bounds.Conn, bounds.Version = dial(t, "", nats.InProcessServer(k.broker)), "1.2.3"
	bounds.Logger = slog.New(slog.NewTextHandler(k.log, nil))
	var err error
	if k.service, err = StartService(backend, bounds); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.service.Stop)
	return k
}

// taker takes a listing as anybody does with a NATS client.
type taker struct {
	k        *kv
	messages chan *nats.Msg
	last     *nats.Msg // chunk, unless it is the last of all
	chunks   int       // so far
	revision uint64
	changes  []Change
}

// ask sends a request; nothing of the answer is taken yet.
func (k *kv) ask(subject, pattern string, header nats.Header) *taker {
	k.t.Helper()
	t := &taker{k: k, messages: make(chan *nats.Msg, 4096)}
	inbox := k.client.NewInbox()
	if _, err := k.client.ChanSubscribe(inbox, t.messages); err != nil {
		k.t.Fatal(err)
	}
	if err := k.client.PublishMsg(&nats.Msg{Subject: subject, Reply: inbox, Header: header, Data: []byte(pattern)}); err != nil {
		k.t.Fatal(err)
	}
	return t
}

// next takes a message, and checks that it is the next chunk, or an error.
func (t *taker) next() (m *nats.Msg, c chunk, failure *Error) {
	t.k.t.Helper()
	m = receive(t.k.t, t.k.ctx, fmt.Sprintf("chunk %d comes", t.chunks+1), t.messages)
	if code := m.Header.Get(micro.ErrorCodeHeader); code != "" {
		n, _ := strconv.Atoi(code)
		if m.Reply != "" || len(m.Data) > 0 || strings.Contains(m.Header.Get(micro.ErrorHeader), "\n") {
			t.k.t.Fatalf("an error is %q, %v", m.Data, m.Header)
		}
		return m, chunk{}, &Error{Code(n), m.Header.Get(micro.ErrorHeader)}
	}
	c, err := parseChunk(m)
	if err != nil {
		t.k.t.Fatal(err)
	}
	if t.chunks++; c.number != uint64(t.chunks) || t.chunks > 1 && c.revision != t.revision || c.last != (m.Reply == "") {
		t.k.t.Fatalf("message %d is chunk %+v with reply subject %q; chunk 1 was at revision %d", t.chunks, c, m.Reply, t.revision)
	}
	t.revision, t.last = c.revision, m
	for change, err := range parseChanges(m.Data) {
		if err != nil {
			t.k.t.Fatal(err)
		}
		t.changes = append(t.changes, change)
	}
	return m, c, nil
}

// ack acknowledges all that came.
func (t *taker) ack() {
	t.k.t.Helper()
	if err := t.k.client.Publish(t.last.Reply, nil); err != nil {
		t.k.t.Fatal(err)
	}
}

// all takes and acknowledges what there is.
func (t *taker) all() *Error {
	t.k.t.Helper()
	for {
		if t.last != nil {
			t.ack()
		}
		if _, c, failure := t.next(); failure != nil || c.last {
			return failure
		}
	}
}

// keys returns what came, as key=value@revision.
func (t *taker) keys() (keys []string) {
	for _, c := range t.changes {
		keys = append(keys, fmt.Sprintf("%s=%s@%d", c.Key, c.Value, c.Revision))
	}
	return keys
}
