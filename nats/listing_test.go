package nats

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

func since(values ...string) nats.Header { return nats.Header{HeaderSince: values} }

// TestListing: what is asked for comes, at one revision, and what is wrong with a
// request is said.
func TestListing(t *testing.T) {
	backend := newMapBackend()
	k := startKV(t, backend)
	exotic := string(bytes.Repeat([]byte{0, ' ', 0xff, '\n'}, 250)) // 1,000 bytes
	for _, key := range []string{"a.x", "a.y", "b", exotic} {
		backend.Write(Operation{Key: key, Value: []byte("v\n")}, "")
	}
	backend.Write(Operation{Key: "a.x", Value: []byte{}}, "")
	backend.oldest = 2
	ax, ay, b, odd := "a.x=@5", "a.y=v\n@2", "b=v\n@3", exotic+"=v\n@4"
	for _, c := range []struct {
		subject, pattern string
		header           nats.Header
		want             []string
		code             Code
		says             string
	}{
		{subject: "kv.list", want: []string{odd, ax, ay, b}},
		{subject: "kv.list", pattern: ">", want: []string{odd, ax, ay, b}},
		{subject: "kv.list", pattern: "a.*", want: []string{ax, ay}},
		{subject: "kv.list", pattern: fanout.SubjectForm(exotic), want: []string{odd}},
		{subject: "kv.list", pattern: "none.>"},
		{subject: "kv.list.a", want: []string{ax, ay}},
		{subject: "kv.list.a", pattern: "a.*", want: []string{ax, ay}},
		{subject: "kv.list.a", pattern: "a.x", want: []string{ax}},
		{subject: "kv.list.a.x", pattern: "a.x", want: []string{ax}},
		{subject: "kv.list.a", pattern: "a"},
		{subject: "kv.list.a", pattern: ">", code: 400, says: "the subject allows for a and what is below it"},
		{subject: "kv.list.a", pattern: "b", code: 400, says: "the subject allows for a and"},
		{subject: "kv.list.a", pattern: "*.x", code: 400, says: "the subject allows for a and"},
		{subject: "kv.list.a", pattern: "ab.x", code: 400, says: "the subject allows for a and"},
		{subject: "kv.list.a.x", pattern: "a.*", code: 400, says: "the subject allows for a.x and"},
		{subject: "kv.list.a*", pattern: "a*.x", code: 400, says: `write "a%2A"`},
		{subject: "kv.since.a", pattern: "b", header: since("2"), code: 400, says: "the subject allows for a and"},
		{subject: "kv.since.a", header: since("2"), want: []string{ax}},
		{subject: "kv.list", pattern: "a b", code: 400, says: `write "a%20b"`},
		{subject: "kv.list", pattern: "a.>.b", code: 400, says: "> may only be the last token"},
		{subject: "kv.list", pattern: strings.Repeat("x", 1<<19), code: 400, says: "the limit is"},
		{subject: "kv.list", header: since("1"), code: 400, says: HeaderSince},
		{subject: "kv.list", header: nats.Header{HeaderMinRev: {"1"}}, code: 400, says: HeaderMinRev},
		{subject: "kv.since"},
		{subject: "kv.since", pattern: "none.>"},
		{subject: "kv.since", header: since("2"), want: []string{odd, ax, b}},
		{subject: "kv.since", pattern: "a.*", header: since("2"), want: []string{ax}},
		{subject: "kv.since", header: since("5")},
		{subject: "kv.since", header: since("1"), code: 410, says: "the oldest is 2"},
		{subject: "kv.since", header: since("6"), code: 410, says: "the oldest is 2"},
		{subject: "kv.since", header: since("x"), code: 400, says: HeaderSince},
		{subject: "kv.since", header: since(""), code: 400, says: HeaderSince},
		{subject: "kv.since", header: since("2", "2"), code: 400, says: HeaderSince},
		{subject: "kv.since", header: nats.Header{HeaderIfRev: {"1"}}, code: 400, says: HeaderIfRev},
		{subject: "kv.since", pattern: "a b", code: 400, says: `write "a%20b"`},
	} {
		name := fmt.Sprintf("%s %.20q %v", c.subject, c.pattern, c.header)
		taker := k.ask(c.subject, c.pattern, c.header)
		m, chunk, failure := taker.next()
		switch {
		case c.code != 0:
			if failure == nil || failure.Code != c.code || !strings.Contains(failure.Description, c.says) {
				t.Errorf("%s: %v, want %d that says %q", name, failure, c.code, c.says)
			}
			if oldest := m.Header.Get(HeaderOldest); (oldest == "2") != (c.code == CodeGone) {
				t.Errorf("%s: header %s is %q", name, HeaderOldest, oldest)
			}
		case failure != nil || !chunk.last || taker.revision != 5 || !slices.Equal(taker.keys(), c.want):
			t.Errorf("%s: %q at %d, last %v, %v; want %q at 5", name, taker.keys(), taker.revision, chunk.last, failure, c.want)
		}
	}
	if log := k.log.String(); log != "" {
		t.Errorf("it logs\n%s", log)
	}
}

// TestListingChunks: all of a long listing comes, in order, at the revision at which
// it began, in chunks of the size that is promised.
func TestListingChunks(t *testing.T) {
	backend := newMapBackend()
	k := startKV(t, backend, func(o *server.Options) { o.MaxPayload = 8 << 20 })
	const n = 20_000
	backend.fill(n, 100)
	long := make([]byte, 3<<20)
	backend.Write(Operation{Key: "k.000100+", Value: long}, "")
	taker := k.ask("kv.list", "k.>", nil)
	for last := false; !last; {
		m, c, failure := taker.next()
		if failure != nil {
			t.Fatal(failure)
		}
		if len(m.Data) > ChunkBytes && len(m.Data) < len(long) {
			t.Errorf("chunk %d has %d bytes", c.number, len(m.Data))
		}
		if c.number == 2 {
			backend.fill(n, 10) // is not seen
		}
		if last = c.last; !last {
			taker.ack()
		}
	}
	if taker.revision != n+1 || len(taker.changes) != n+1 {
		t.Fatalf("%d entries at %d", len(taker.changes), taker.revision)
	}
	at := 0
	for i := range n {
		if at == 101 {
			at++ // the long one
		}
		if c := taker.changes[at]; c.Key != fmt.Sprintf("k.%06d", i) || len(c.Value) != 100 || c.Revision != uint64(i+1) {
			t.Fatalf("entry %d is %s with %d bytes at %d", at, c.Key, len(c.Value), c.Revision)
		}
		at++
	}
	if most := n*200/ChunkBytes + 3; taker.chunks > most {
		t.Errorf("it came in %d chunks, want %d at most", taker.chunks, most)
	}
}

// sentUntilFailure takes chunks, without a word, until the listing fails or ends.
func (t *taker) sentUntilFailure() (chunks, bytes int, failure *Error) {
	for {
		m, c, failure := t.next()
		if failure != nil || c.last {
			return t.chunks, bytes, failure
		}
		bytes += len(m.Data)
	}
}

// TestListingIsPaced: to who does not acknowledge go as many chunks as may be open,
// and then an error; nothing of it stays.
func TestListingIsPaced(t *testing.T) {
	for _, c := range []struct{ entries, size, chunks int }{
		{2000, 1000, MaxOpenChunks},     // the count is the bound
		{20, 300_000, 3},                // the bytes are
		{3, 2 << 20, 1},                 // one chunk is more than the bytes allow
		{100, MaxOpenBytes/4 - 100, 4},  // they just fit
		{100, MaxOpenBytes/4 + 1000, 3}, // they just do not
	} {
		backend := newMapBackend()
		k := startListingKV(t, backend, ServiceOptions{ackTime: 100 * time.Millisecond}, func(o *server.Options) { o.MaxPayload = 4 << 20 })
		backend.fill(c.entries, c.size)
		chunks, bytes, failure := k.ask("kv.list", "", nil).sentUntilFailure()
		if chunks != c.chunks || failure == nil || failure.Code != CodeUnavailable || !strings.Contains(failure.Description, "chunk 1 was not acknowledged within 100ms") {
			t.Errorf("%+v: %d chunks with %d bytes, then %v", c, chunks, bytes, failure)
		}
		eventually(t, k.ctx, "it is forgotten", func() bool {
			k.service.listings.mu.Lock()
			defer k.service.listings.mu.Unlock()
			return len(k.service.listings.open) == 0 && len(k.service.listings.places) == 0
		})
	}
}

// TestAcknowledgements: each opens the window for the chunks up to its own, once; one
// that is of nothing that was sent opens none.
func TestAcknowledgements(t *testing.T) {
	backend := newMapBackend()
	k := startKV(t, backend)
	backend.fill(5000, 1000)
	taker := k.ask("kv.list", "", nil)
	subjects := make([]string, 0, MaxOpenChunks)
	for range MaxOpenChunks {
		m, _, failure := taker.next()
		if failure != nil {
			t.Fatal(failure)
		}
		subjects = append(subjects, m.Reply)
	}
	head := strings.TrimSuffix(subjects[0], "1")
	for _, subject := range []string{
		head + "100", head + "18446744073709551616", head + "x", head + "0", head + "-1",
		strings.Replace(head, ".ack.", ".ack.x", 1) + "8",
		head[:len(head)-2] + "x.8",
		subjects[0], subjects[2], // these open three
		subjects[2], subjects[1],
	} {
		if err := k.client.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if _, _, failure := taker.next(); failure != nil {
			t.Fatal(failure)
		}
	}
	flush(t, k.ctx, k.client)
	k.service.Stop()
	if chunks, _, failure := taker.sentUntilFailure(); chunks != MaxOpenChunks+3 || failure == nil {
		t.Errorf("%d chunks, then %v; want %d", chunks, failure, MaxOpenChunks+3)
	}
}

// TestListingsShareAProof with whatever else is read.
func TestListingsShareAProof(t *testing.T) {
	backend := newMapBackend()
	backend.proof = make(chan error)
	backend.entered = make(chan struct{}, 10)
	k := startKV(t, backend)
	first := k.ask("kv.list", "", nil)
	receive(t, k.ctx, "a proof begins", backend.entered)
	later := []*taker{k.ask("kv.list", "", nil), k.ask("kv.since", "", since("0")), k.ask("kv.since", "", nil)}
	r := k.inbox(1)
	k.send(r, 0, "kv.get.a", "")
	eventually(t, k.ctx, "they wait", func() bool { return len(k.service.reads) == 4 })
	backend.Write(Operation{Key: "a", Value: []byte("v")}, "")
	backend.proof <- nil
	if failure := first.all(); failure != nil {
		t.Error(failure)
	}
	receive(t, k.ctx, "the next proof begins", backend.entered)
	backend.proof <- nil
	for i, taker := range later {
		if failure := taker.all(); failure != nil || taker.revision != 1 || len(taker.changes) != []int{1, 1, 0}[i] {
			t.Errorf("listing %d: %q at %d, %v", i, taker.keys(), taker.revision, failure)
		}
	}
	if _, a := k.next(r); a.value != "v" {
		t.Errorf("the get says %+v", a)
	}
	if _, proofs := backend.count(); proofs != 2 {
		t.Errorf("%d proofs, want 2", proofs)
	}
}

// TestNoProofNoListing: who cannot prove that it leads says so, as often as it is
// asked, and keeps no place for it.
func TestNoProofNoListing(t *testing.T) {
	backend := newMapBackend()
	backend.proof = make(chan error, 1)
	k := startKV(t, backend)
	for range MaxListings + 1 {
		backend.proof <- &Error{CodeUnavailable, "no proof"}
		if failure := k.ask("kv.list", "", nil).all(); failure == nil || failure.Description != "no proof" {
			t.Fatalf("it ends with %v", failure)
		}
	}
	backend.proof <- nil
	if failure := k.ask("kv.list", "", nil).all(); failure != nil {
		t.Error(failure)
	}
}

// TestListingIsTooLargeForTheBroker: an entry that does not go through is told.
func TestListingIsTooLargeForTheBroker(t *testing.T) {
	backend := newMapBackend()
	k := startKV(t, backend, func(o *server.Options) { o.MaxPayload = 16 << 10 })
	backend.fill(100, 8000)
	taker := k.ask("kv.list", "", nil)
	if failure := taker.all(); failure != nil || len(taker.changes) != 100 {
		t.Errorf("with a small broker %d entries come, then %v", len(taker.changes), failure)
	}
	backend.Write(Operation{Key: "large", Value: make([]byte, 16<<10)}, "")
	if failure := k.ask("kv.list", "", nil).all(); failure == nil || failure.Code != CodeTooLarge {
		t.Errorf("a value that is too large: %v", failure)
	}
}

// TestNobodyAsksForAListing: without a reply subject there is nowhere to send it.
func TestNobodyAsksForAListing(t *testing.T) {
	backend := newMapBackend()
	k := startKV(t, backend)
	for range 2 * MaxListings {
		if err := k.client.Publish("kv.list", nil); err != nil {
			t.Fatal(err)
		}
	}
	if failure := k.ask("kv.list", "", nil).all(); failure != nil {
		t.Error(failure)
	}
	backend.mu.Lock()
	defer backend.mu.Unlock()
	if backend.listed != 1 {
		t.Errorf("the state was read %d times for one listing", backend.listed)
	}
}

func TestReplicaListings(t *testing.T) {
	k := startKV(t, newMapBackend())
	b := newReplicaBackend() // has k=v at 1
	b.mapBackend.revision = 5
	b.reach(5)
	startReplicaOn(t, k.broker, b)
	for _, c := range []struct {
		subject string
		header  nats.Header
		code    Code
		says    string
	}{
		{subject: "kv.stale.list"},
		{subject: "kv.stale.list", header: nats.Header{HeaderMinRev: {"5"}}},
		{subject: "kv.stale.list", header: nats.Header{HeaderMinRev: {"x"}}, code: CodeBadRequest, says: HeaderMinRev},
		{subject: "kv.stale.list", header: since("0"), code: CodeBadRequest, says: HeaderSince},
		{subject: "kv.stale.since", header: since("0")},
		{subject: "kv.stale.since", header: since("6"), code: CodeGone, says: "the oldest is 0"},
		{subject: "kv.stale.list", header: nats.Header{HeaderMinRev: {"6"}}, code: CodeUnavailable, says: "has not reached revision 6"},
	} {
		taker := k.ask(c.subject, "", c.header)
		failure := taker.all()
		switch {
		case c.code != 0:
			if failure == nil || failure.Code != c.code || !strings.Contains(failure.Description, c.says) {
				t.Errorf("%s %v: %v, want %d that says %q", c.subject, c.header, failure, c.code, c.says)
			}
		case failure != nil || !slices.Equal(taker.keys(), []string{"k=v@1"}):
			t.Errorf("%s %v: %q, %v", c.subject, c.header, taker.keys(), failure)
		}
	}
	waiting := k.ask("kv.stale.since", "", nats.Header{HeaderMinRev: {"7"}})
	receive(t, k.ctx, "it waits", b.waiting)
	b.reach(7)
	if failure := waiting.all(); failure != nil || waiting.revision != 7 {
		t.Errorf("it stands at %d, %v", waiting.revision, failure)
	}
}
