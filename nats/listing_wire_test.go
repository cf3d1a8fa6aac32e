package nats

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/watchcast/watchcast/fanout"
)

// anyChange draws an entry that a state machine may make.
func anyChange() *rapid.Generator[Change] {
	return rapid.Custom(func(t *rapid.T) Change {
		c := Change{
			Op:       rapid.SampledFrom([]fanout.Op{fanout.Put, fanout.Put, fanout.Delete, fanout.Expire}).Draw(t, "op"),
			Key:      anyKey().Draw(t, "key"),
			Revision: rapid.Uint64Min(1).Draw(t, "revision"),
		}
		if rapid.Bool().Draw(t, "timed") {
			c.Time = time.Unix(0, rapid.Int64().Draw(t, "time")).In(time.FixedZone("", 60*rapid.IntRange(-720, 720).Draw(t, "zone")))
		}
		if c.Op == fanout.Put {
			c.Value = append([]byte{}, rapid.OneOf(
				rapid.SliceOf(rapid.Byte()),
				rapid.SliceOf(rapid.SampledFrom([]byte("put 1 - \n"))),
			).Draw(t, "value")...)
			c.TTL = time.Duration(rapid.Int64Min(0).Draw(t, "ttl"))
		}
		return c
	})
}

func wantSameChange(t rapid.TB, got, want Change) {
	t.Helper()
	if got.Op != want.Op || got.Key != want.Key || got.Revision != want.Revision || got.TTL != want.TTL ||
		!got.Time.Equal(want.Time) || got.Time.Location() != time.UTC || !bytes.Equal(got.Value, want.Value) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	if isPut := want.Op == fanout.Put; (got.Value != nil) != isPut {
		t.Fatalf("%v has value %#v", want.Op, got.Value)
	}
}

func TestChangesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(anyChange(), 0, 5).Draw(t, "changes")
		var data []byte
		for _, c := range want {
			data = appendChange(data, c)
		}
		n := 0
		for got, err := range parseChanges(data) {
			if err != nil || n == len(want) {
				t.Fatalf("entry %d of %d: %+v, %v", n, len(want), got, err)
			}
			wantSameChange(t, got, want[n])
			n++
		}
		if n != len(want) {
			t.Fatalf("%d entries came back of %d", n, len(want))
		}
	})
}

// TestChangeOnTheWire is the format that docs/protocol.md states.
func TestChangeOnTheWire(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 700, time.UTC)
	for _, c := range []struct {
		change Change
		want   string
	}{
		{Change{Op: fanout.Put, Key: "a.b", Value: []byte("x\ny"), Revision: 7, Time: at, TTL: 90 * time.Second}, "put 7 2026-02-03T04:05:06.0000007Z 1m30s 3 a.b\nx\ny\n"},
		{Change{Op: fanout.Put, Key: "a b", Value: []byte{}, Revision: 8}, "put 8 - - 0 a%20b\n\n"},
		{Change{Op: fanout.Delete, Key: "k", Revision: 9}, "delete 9 - - 0 k\n\n"},
		{Change{Op: fanout.Expire, Key: "k", Revision: 10, Time: at}, "expire 10 2026-02-03T04:05:06.0000007Z - 0 k\n\n"},
	} {
		if got := string(appendChange(nil, c.change)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.change, got, c.want)
		}
	}
}

// TestValuesAreCopies: who keeps a value does not keep the chunk, nor sees it change.
func TestValuesAreCopies(t *testing.T) {
	data := appendChange(nil, Change{Op: fanout.Put, Key: "k", Value: []byte("v"), Revision: 1})
	for c := range parseChanges(data) {
		clear(data)
		if string(c.Value) != "v" || cap(c.Value) != 1 {
			t.Errorf("value %q with room for %d bytes", c.Value, cap(c.Value))
		}
	}
}

func TestBadChunks(t *testing.T) {
	const good = "put 1 - - 1 k\nv\n"
	for _, c := range []struct{ data, want string }{
		{"put 1 - - 1 k", "its line has no end"},
		{strings.Repeat("x", maxLine) + "\n\n", "its line has no end"},
		{"put 1 - - 1\nv\n", "its line has 5 fields, not 6"},
		{"put 1 - - 1 k \nv\n", "its line has 7 fields, not 6"},
		{"put 1 - - 2 k\nv\n", "its value should have 2 bytes and a line feed; 2 bytes are left"},
		{"put 1 - - 1 k\nvv", "no line feed follows the 1 bytes"},
		{"put 1 - - 18446744073709551615 k\nv\n", "its value should have 18446744073709551615 bytes"},
		{"put 1 - - 18446744073709551616 k\nv\n", "length is"},
		{"put 1 - - 01 k\nv\n", "length is"},
		{"put 1 - - -1 k\nv\n", "length is"},
		{"put 0 - - 1 k\nv\n", "revision is"},
		{"put +1 - - 1 k\nv\n", "revision is"},
		{"put 01 - - 1 k\nv\n", "revision is"},
		{"Put 1 - - 1 k\nv\n", "operation is"},
		{"reset 1 - - 0 k\n\n", "operation is"},
		{"put 1 0001-01-01T00:00:00Z - 1 k\nv\n", "time is"},
		{"put 1 2026-02-03T04:05:06+01:00 - 1 k\nv\n", "time is"},
		{"put 1 2026-02-03T04:05:06.10Z - 1 k\nv\n", "time is"},
		{"put 1 - 0s 1 k\nv\n", "time to live is"},
		{"put 1 - -1s 1 k\nv\n", "time to live is"},
		{"put 1 - 60s 1 k\nv\n", "time to live is"},
		{"delete 1 - 1s 0 k\n\n", "time to live is"},
		{"delete 1 - - 1 k\nv\n", "length is"},
		{"put 1 - - 1 a..b\nv\n", "is not how this key is written"},
		{"put 1 - - 1 \nv\n", "it is empty"},
	} {
		entries, last := 0, error(nil)
		for _, err := range parseChanges([]byte(good + c.data)) {
			if last != nil {
				t.Fatalf("%q: something follows the error %v", c.data, last)
			}
			if last = err; err == nil {
				entries++
			}
		}
		if last == nil || !strings.HasPrefix(last.Error(), "nats: entry 2 of the chunk: ") || !strings.Contains(last.Error(), c.want) || entries != 1 {
			t.Errorf("%q: %d entries, then %v; want %q", c.data, entries, last, c.want)
		}
	}
}

// FuzzParseChanges: whatever is read as entries is written back as the same bytes,
// and nothing else happens.
func FuzzParseChanges(f *testing.F) {
	f.Add([]byte("put 7 2026-02-03T04:05:06.0000007Z 1m30s 3 a.b\nx\ny\ndelete 9 - - 0 k\n\n"))
	f.Add([]byte("expire 10 2026-02-03T04:05:06Z - 0 a%20b\n\nput 8 - - 0 k\n\n"))
	f.Add([]byte("put 1 - - 18446744073709551615 k\nv\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var back []byte
		for c, err := range parseChanges(data) {
			if err != nil {
				return
			}
			back = appendChange(back, c)
		}
		if !bytes.Equal(back, data) {
			t.Errorf("%q was read as %q", data, back)
		}
	})
}

func TestChunkHeaders(t *testing.T) {
	for _, want := range []chunk{{0, 1, true}, {7, 1, false}, {math.MaxUint64, math.MaxUint64, true}} {
		if got, err := parseChunk(&nats.Msg{Header: want.header()}); err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
	for _, name := range []string{HeaderRev, HeaderChunk, HeaderLast} {
		for _, bad := range []string{"0", "-1", "x", "18446744073709551616", "TRUE"} {
			if name == HeaderRev && bad == "0" {
				continue
			}
			m := &nats.Msg{Header: chunk{7, 1, false}.header()}
			m.Header.Set(name, bad)
			if _, err := parseChunk(m); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s %q: %v", name, bad, err)
			}
		}
	}
}

// TestLongestEntryFits: the longest key with the longest value goes into a message.
func TestLongestEntryFits(t *testing.T) {
	const headroom = 4 << 10 // of values below the broker's max payload
	c := Change{
		Op: fanout.Put, Key: strings.Repeat(" ", fanout.MaxKeyBytes), Value: make([]byte, 8<<20),
		Revision: math.MaxUint64, Time: time.Unix(0, math.MaxInt64), TTL: math.MaxInt64,
	}
	m := &nats.Msg{Subject: "x", Header: chunk{math.MaxUint64, math.MaxUint64, true}.header(), Data: appendChange(nil, c)}
	if n := m.Size() - len(m.Subject) - len(c.Value); n > headroom {
		t.Errorf("a chunk has %d bytes beside the value; the limit is %d", n, headroom)
	}
	if n := len(c.appendLine(nil)); n > maxLine {
		t.Errorf("the line has %d bytes; the limit is %d", n, maxLine)
	}
}
