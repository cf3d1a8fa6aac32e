package nats

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/watchcast/watchcast/fanout"
)

// anyEvent draws an event that a state machine may make.
func anyEvent() *rapid.Generator[*fanout.Event] {
	return rapid.Custom(func(t *rapid.T) *fanout.Event {
		revision := rapid.Uint64Min(1).Draw(t, "revision")
		e := &fanout.Event{
			Key:          anyKey().Draw(t, "key"),
			Op:           rapid.SampledFrom([]fanout.Op{fanout.Put, fanout.Delete, fanout.Expire}).Draw(t, "op"),
			Revision:     revision,
			PrevRevision: rapid.Uint64Max(revision-1).Draw(t, "previous"),
			// A clock may stand anywhere, in any zone, within what the format
			// can say: the years 0 to 9999.
			Time: time.Unix(rapid.Int64Range(-62135596800, 253402214400).Draw(t, "seconds"),
				rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).
				In(time.FixedZone("", 60*rapid.IntRange(-720, 720).Draw(t, "zone"))),
		}
		if e.Op == fanout.Put {
			e.Value = rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		}
		if rapid.Bool().Draw(t, "in a batch") {
			e.BatchSize = rapid.Uint32Min(2).Draw(t, "batch size")
			e.Batch = rapid.Uint32Max(e.BatchSize-1).Draw(t, "batch")
		}
		return e
	})
}

// anyKey draws a key: any bytes, often those that subjects give a meaning.
func anyKey() *rapid.Generator[string] {
	exotic := rapid.StringOfN(rapid.SampledFrom([]rune(".*>%$ \t\r\n\x00\x7f_aZ/:é世\U0001F600\u0085\u00a0\u2028\ufffd")), 1, 40, -1)
	raw := rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 40), func(b []byte) string { return string(b) })
	long := rapid.Map(rapid.SliceOfN(rapid.Byte(), fanout.MaxKeyBytes, fanout.MaxKeyBytes), func(b []byte) string { return string(b) })
	return rapid.OneOf(exotic, exotic, raw, raw, raw, rapid.StringMatching(`[a-z]{1,8}(\.[a-z0-9]{1,8}){0,5}`), long)
}

// wantSameEvent compares what was encoded with what came back. Zones do not
// travel, nor does the previous value.
func wantSameEvent(t rapid.TB, got, want *fanout.Event) {
	t.Helper()
	if got.Key != want.Key || got.Op != want.Op || got.Revision != want.Revision || got.PrevRevision != want.PrevRevision ||
		got.Batch != want.Batch || got.BatchSize != want.BatchSize || !bytes.Equal(got.Value, want.Value) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	if !got.Time.Equal(want.Time) || got.Time.Location() != time.UTC {
		t.Fatalf("got time %v, want %v in UTC", got.Time, want.Time)
	}
	if isPut := want.Op == fanout.Put; (got.Value != nil) != isPut {
		t.Fatalf("%v has value %#v", want.Op, got.Value)
	}
}

func TestEventRoundTrip(t *testing.T) {
	s := checked(t)
	rapid.Check(t, func(t *rapid.T) {
		want := anyEvent().Draw(t, "event")
		got, err := s.DecodeEvent(s.EncodeEvent(want))
		if err != nil {
			t.Fatal(err)
		}
		wantSameEvent(t, got, want)
	})
}

// The same through a broker, where headers and subjects are text on a wire.
func TestEventRoundTripOverTheWire(t *testing.T) {
	s, ctx := checked(t), testContext(t)
	broker, _ := startBroker(t)
	conn := dial(t, broker.ClientURL())
	messages := make(chan *nats.Msg, 1)
	if _, err := conn.ChanSubscribe(s.Events(">"), messages); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		want := anyEvent().Draw(rt, "event")
		if err := conn.PublishMsg(s.EncodeEvent(want)); err != nil {
			rt.Fatal(err)
		}
		got, err := s.DecodeEvent(receive(t, ctx, "the event comes back", messages))
		if err != nil {
			rt.Fatal(err)
		}
		wantSameEvent(rt, got, want)
	})
}

// An empty value is a value; a delete has none, whatever the payload.
func TestEventEmptyValue(t *testing.T) {
	s := checked(t)
	for _, value := range [][]byte{nil, {}} {
		m := s.EncodeEvent(&fanout.Event{Op: fanout.Put, Key: "a", Revision: 1, Value: value})
		if e, err := s.DecodeEvent(m); err != nil || e.Value == nil || len(e.Value) > 0 {
			t.Errorf("an empty put arrives as %+v, %v", e, err)
		}
	}
	m := s.EncodeEvent(&fanout.Event{Op: fanout.Delete, Key: "a", Revision: 2, PrevRevision: 1})
	if len(m.Data) > 0 {
		t.Errorf("a delete has payload %q", m.Data)
	}
	m.Data = []byte("x")
	if e, err := s.DecodeEvent(m); err != nil || e.Value != nil {
		t.Errorf("a delete arrives as %+v, %v", e, err)
	}
}

// Who receives an event owns it; the client library may reuse the message.
func TestEventValueIsACopy(t *testing.T) {
	s := checked(t)
	m := s.EncodeEvent(&fanout.Event{Op: fanout.Put, Key: "a", Revision: 1, Value: []byte("value")})
	e, err := s.DecodeEvent(m)
	if err != nil {
		t.Fatal(err)
	}
	m.Data[0] = 'V'
	if string(e.Value) != "value" {
		t.Errorf("the value became %q", e.Value)
	}
}

func TestEventOnTheWire(t *testing.T) {
	m := checked(t).EncodeEvent(&fanout.Event{
		Op: fanout.Put, Key: "a b..c", Value: []byte("v"), Revision: 12, PrevRevision: 7, Batch: 1, BatchSize: 3,
		Time: time.Date(2024, 2, 29, 1, 2, 3, 45, time.FixedZone("", 3600)),
	})
	if m.Subject != "watch.a%20b.%2Ec" || m.Reply != "" || string(m.Data) != "v" || len(m.Header) != 6 {
		t.Errorf("the message is %+v", m)
	}
	for name, want := range map[string]string{
		"Watch-Op":    "put",
		"Watch-Rev":   "12",
		"Watch-Prev":  "7",
		"Watch-Time":  "2024-02-29T00:02:03.000000045Z",
		"Watch-Batch": "1/3",
		"Nats-Msg-Id": "12.1",
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestMessageID: a change has the same id whenever it is published, and no other
// change has it.
func TestMessageID(t *testing.T) {
	s := checked(t)
	ids := map[string]*fanout.Event{}
	for _, e := range []*fanout.Event{
		{Op: fanout.Put, Key: "a", Revision: 12},
		{Op: fanout.Put, Key: "a", Revision: 121},
		{Op: fanout.Put, Key: "a", Revision: 1, BatchSize: 3, Batch: 21},
		{Op: fanout.Put, Key: "a", Revision: 13, BatchSize: 2},
		{Op: fanout.Delete, Key: "b", Revision: 13, PrevRevision: 4, BatchSize: 2, Batch: 1},
	} {
		id := s.EncodeEvent(e).Header.Get("Nats-Msg-Id")
		if other := ids[id]; id == "" || other != nil {
			t.Errorf("%+v and %+v both have the id %q", e, other, id)
		}
		ids[id] = e
		if again := s.EncodeEvent(e).Header.Get("Nats-Msg-Id"); again != id {
			t.Errorf("the id was %q and is %q", id, again)
		}
	}
	if ids["12.0"] == nil || ids["13.1"] == nil {
		t.Errorf("the ids are %v", ids)
	}
}

func TestDecodeEventNamesTheHeader(t *testing.T) {
	s := checked(t)
	for _, bad := range []struct{ header, value string }{
		{HeaderOp, ""}, {HeaderOp, "Put"}, {HeaderOp, "lagged"}, {HeaderOp, "reset"}, {HeaderOp, "progress"},
		{HeaderRev, ""}, {HeaderRev, "0"}, {HeaderRev, "-1"}, {HeaderRev, "18446744073709551616"}, {HeaderRev, "0x5"}, {HeaderRev, " 9"},
		{HeaderPrev, ""}, {HeaderPrev, "x"}, {HeaderPrev, "9"}, {HeaderPrev, "10"},
		{HeaderTime, ""}, {HeaderTime, "now"}, {HeaderTime, "2024-02-30T00:00:00Z"},
		{HeaderTime, "2024-02-29T00:00:00+24:00"}, {HeaderTime, "2024-02-29T00:00:00+00:00"}, {HeaderTime, "9999-12-31T23:59:59-01:00"},
		{HeaderTime, "2024-02-29T00:00:00.500Z"}, {HeaderTime, "2024-02-29T00:00:00,5Z"},
		{HeaderBatch, "1"}, {HeaderBatch, "/"}, {HeaderBatch, "0/1"}, {HeaderBatch, "2/2"}, {HeaderBatch, "0/4294967296"}, {HeaderBatch, "0/2/3"}, {HeaderBatch, "-1/2"},
	} {
		m := s.EncodeEvent(&fanout.Event{Op: fanout.Put, Key: "a", Revision: 9, PrevRevision: 8})
		m.Header.Set(bad.header, bad.value)
		if e, err := s.DecodeEvent(m); err == nil {
			t.Errorf("%s %q is taken as %+v", bad.header, bad.value, e)
		} else if !strings.Contains(err.Error(), bad.header) || !strings.Contains(err.Error(), m.Subject) {
			t.Errorf("%s %q: the error is %q, which names not both header and subject", bad.header, bad.value, err)
		}
	}
	if e, err := s.DecodeEvent(&nats.Msg{Subject: "watch.a"}); err == nil {
		t.Errorf("a message without headers is taken as %+v", e)
	}
}

func FuzzDecodeEvent(f *testing.F) {
	s := checked(f)
	f.Add("watch.a", "put", "2", "1", "2024-02-29T00:00:00.000000001Z", "0/2", []byte("value"))
	f.Add("watch.a%20b", "delete", "18446744073709551615", "0", "0001-01-01T00:00:00Z", "", []byte{})
	f.Add("watch.", "expire", "01", "", "2024-02-29T00:00:00,5+01:00", "1/1", []byte(nil))
	f.Add("kv.put.a", "lagged", "1", "2", "x", "4294967295/4294967295", []byte(nil))
	f.Fuzz(func(t *testing.T, subject, op, rev, prev, at, batch string, data []byte) {
		m := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
			HeaderOp: {op}, HeaderRev: {rev}, HeaderPrev: {prev}, HeaderTime: {at}, HeaderBatch: {batch},
		}}
		e, err := s.DecodeEvent(m)
		if err != nil {
			named := strings.Contains(err.Error(), "Watch-") || strings.HasPrefix(err.Error(), fanout.ErrBadKey.Error())
			if e != nil || !named {
				t.Fatalf("got %+v and %q, which names neither header nor key", e, err)
			}
			return
		}
		if e.Control() || e.Revision == 0 || e.PrevRevision >= e.Revision || (e.BatchSize > 0 && (e.BatchSize < 2 || e.Batch >= e.BatchSize)) {
			t.Fatalf("%v decodes to %+v", m, e)
		}
		if _, err := e.Time.MarshalJSON(); err != nil {
			t.Fatalf("%q is taken as a time that is none elsewhere: %v", at, err)
		}
		again, err := s.DecodeEvent(s.EncodeEvent(e))
		if err != nil {
			t.Fatalf("%+v was decoded and does not decode again: %v", e, err)
		}
		wantSameEvent(t, again, e)
	})
}
