package fsm

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

// goldenCommands pins the encoding: it is in logs, so it never changes.
var goldenCommands = map[string]Command{
	"0108012a047465737430808040":                    {Op: CommandInit, Cluster: Cluster{ID: "test", MaxValueBytes: 1 << 20}},
	"0108021201611a0162":                            {Op: CommandPut, Key: "a", Value: []byte("b")},
	"0108021201611a00":                              {Op: CommandPut, Key: "a", Value: []byte{}},
	"0108021201611a00200e":                          put("a", "").at(14),
	"0108021201611a002000":                          put("a", "").at(0),
	"010803120161":                                  del("a"),
	"010803120161208001":                            del("a").at(128),
	"0108043a100708021201611a000708031201622005":    batchOf(put("a", ""), del("b").at(5)),
	"0108043a00":                                    batchOf(),
	"0108054003480a":                                expire().when(10),
	"01080540034800":                                expire().when(0),
	"0108021201611a0162400348ac025014":              put("a", "b").ttl(20).when(300),
	"0108021201611a01622005400348005a0178":          put("a", "b").at(5).id("x").when(0),
	"010803120161400348015a0178":                    del("a").id("x").when(1),
	"0108043a0b0a08021201611a01625014" + "40034801": batchOf(put("a", "b").ttl(20)).when(1),
}

func TestCommandEncoding(t *testing.T) {
	for text, c := range goldenCommands {
		if got := hex.EncodeToString(c.Append(nil)); got != text {
			t.Errorf("%+v is encoded as %s, want %s", c, got, text)
		}
		data, _ := hex.DecodeString(text)
		if got, err := ParseCommand(data); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s is parsed as %+v, %v; want %+v", text, got, err, c)
		}
	}
	if got := string(del("a").Append([]byte("before"))); got != "before"+string(del("a").Append(nil)) {
		t.Errorf("Append does not append: %q", got)
	}
}

// TestCommandIsAllocatedOnce: a put or delete is encoded into one allocation.
func TestCommandIsAllocatedOnce(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []Command{
		put("a", "b"), put(long, long), del(long), put(long, long).at(math.MaxUint64),
		put("a", long).ttl(MaxTTL).id(long).when(math.MaxInt64), del("a").at(1 << 40).id("id").when(1 << 50),
	} {
		if n := testing.AllocsPerRun(10, func() { c.Append(nil) }); n != 1 {
			t.Errorf("op %v, key of %d bytes, request id %q: %v allocations", c.Op, len(c.Key), c.RequestID, n)
		}
	}
}

func TestBadCommands(t *testing.T) {
	good := put("a", "b").at(3).Append(nil)
	initOf := func(id string, limit int) []byte {
		return Command{Op: CommandInit, Cluster: Cluster{ID: id, MaxValueBytes: limit}}.Append(nil)
	}
	message := func(parts ...[]byte) []byte { return append([]byte{commandVersion}, slices.Concat(parts...)...) }
	op := appendUint(nil, fieldOp, uint64(CommandPut))
	key := appendBytes(nil, fieldKey, "a")
	value := appendBytes(nil, fieldValue, "b")
	batchOp := appendUint(nil, fieldOp, uint64(CommandBatch))
	stamp := slices.Concat(appendUint(nil, fieldTerm, testTerm), appendUint(nil, fieldTime, 1))
	number := func(n protowire.Number, v uint64) []byte { return appendUint(nil, n, v) }
	id := appendBytes(nil, fieldRequestID, "x")
	put0 := slices.Concat(op, key, value)
	cases := map[string][]byte{
		"stamp for nothing":        message(put0, stamp),
		"term without time":        message(put0, number(fieldTerm, 3), id),
		"time without term":        message(put0, number(fieldTime, 3), id),
		"term 0":                   message(put0, number(fieldTerm, 0), number(fieldTime, 1), id),
		"time too high":            message(put0, number(fieldTerm, 3), number(fieldTime, uint64(maxTime)+1), id),
		"time negative":            message(put0, number(fieldTerm, 3), number(fieldTime, 1<<63), id),
		"ttl without stamp":        message(put0, number(fieldTTL, 1)),
		"ttl 0":                    message(put0, stamp, number(fieldTTL, 0)),
		"ttl too long":             message(put0, stamp, number(fieldTTL, uint64(MaxTTL)+1)),
		"ttl negative":             message(put0, stamp, number(fieldTTL, 1<<63)),
		"ttl of a delete":          message(number(fieldOp, uint64(CommandDelete)), key, stamp, number(fieldTTL, 1)),
		"id without stamp":         message(put0, id),
		"empty id":                 message(put0, stamp, appendBytes(nil, fieldRequestID, "")),
		"id too long":              message(put0, stamp, appendBytes(nil, fieldRequestID, strings.Repeat("x", MaxRequestIDBytes+1))),
		"expire without stamp":     message(number(fieldOp, uint64(CommandExpire))),
		"expire with id":           message(number(fieldOp, uint64(CommandExpire)), stamp, id),
		"expire of a key":          message(number(fieldOp, uint64(CommandExpire)), key, stamp),
		"expire in a batch":        batchOf(expire()).Append(nil),
		"stamp in a batch":         batchOf(put("a", "b").ttl(1).when(1)).when(1).Append(nil),
		"id in a batch":            batchOf(put("a", "b").id("x")).id("y").when(1).Append(nil),
		"ttl in an unstamped":      batchOf(put("a", "b").ttl(1)).Append(nil),
		"stamped for nothing":      batchOf(put("a", "b")).when(1).Append(nil),
		"condition of a batch":     message(number(fieldOp, uint64(CommandBatch)), number(fieldIfRevision, 1), appendBytes(nil, fieldBatch, "")),
		"empty":                    nil,
		"version only":             {commandVersion},
		"unknown version":          append([]byte{2}, good[1:]...),
		"version 0":                append([]byte{0}, good[1:]...),
		"no operation":             message(key, value),
		"operation 0":              message(appendUint(nil, fieldOp, 0), key, value),
		"unknown operation":        message(appendUint(nil, fieldOp, 6), key, value),
		"operation that wraps":     message(appendUint(nil, fieldOp, 256+uint64(CommandPut)), key, value),
		"no key":                   message(op, value),
		"no value":                 message(op, key),
		"unknown field":            append(slices.Clone(good), appendUint(nil, 12, 1)...),
		"unknown high field":       append(slices.Clone(good), appendUint(nil, 64+4, 1)...),
		"field of another op":      message(op, key, value, appendBytes(nil, fieldClusterID, "x")),
		"value in a delete":        message(appendUint(nil, fieldOp, uint64(CommandDelete)), key, value),
		"duplicate field":          message(op, key, key, value),
		"fields out of order":      message(op, value, key),
		"trailing garbage":         append(slices.Clone(good), 0xff),
		"trailing zero":            append(slices.Clone(good), 0),
		"cut short":                good[:len(good)-1],
		"operation as bytes":       message(appendBytes(nil, fieldOp, "\x02"), key, value),
		"key as number":            message(op, appendUint(nil, fieldKey, 1), value),
		"key longer than the rest": message(op, protowire.AppendTag(nil, fieldKey, protowire.BytesType), []byte{0xff, 0xff, 0xff, 0xff, 0x7f}),
		"long form of a number":    message([]byte{8, 0x80 | byte(CommandPut), 0}, key, value),
		"long form of a tag":       message([]byte{0x88, 0, byte(CommandPut)}, key, value),
		"long form of a length":    message(op, []byte{fieldKeyTag, 0x81, 0, 'a'}, value),
		"a group":                  message(op, key, value, []byte{4<<3 | 3, 4<<3 | 4}),
		"no cluster id":            initOf("", 1),
		"cluster id too long":      initOf(strings.Repeat("x", MaxClusterIDBytes+1), 1),
		"values of no bytes":       initOf("x", 0),
		"values of negative bytes": initOf("x", -1),
		"values too long":          initOf("x", MaxValueLimit+1),
		"values of 2^32+1 bytes":   message(appendUint(nil, fieldOp, uint64(CommandInit)), appendBytes(nil, fieldClusterID, "x"), appendUint(nil, fieldMaxValue, math.MaxUint32+2)),
		"batch in a put":           message(op, key, value, appendBytes(nil, fieldBatch, "")),
		"no batch":                 message(batchOp),
		"key of a batch":           message(batchOp, key, appendBytes(nil, fieldBatch, "")),
		"batch cut short":          message(batchOp, appendBytes(nil, fieldBatch, batchOf(put("a", "b")).encoded()[:3])),
		"garbage in a batch":       message(batchOp, appendBytes(nil, fieldBatch, "\x01\xff")),
		"long form in a batch":     message(batchOp, appendBytes(nil, fieldBatch, "\x88\x00\x08\x02\x12\x01a\x1a\x01b")),
		"nothing in a batch":       message(batchOp, appendBytes(nil, fieldBatch, "\x00")),
		"batch in a batch":         batchOf(batchOf(put("a", "b"))).Append(nil),
		"init in a batch":          batchOf(Command{Op: CommandInit, Cluster: testCluster}).Append(nil),
		"one more than MaxBatch":   batchOf(slices.Repeat([]Command{del("a")}, MaxBatch+1)...).Append(nil),
	}
	for name, data := range cases {
		if c, err := ParseCommand(data); !errors.Is(err, ErrBadCommand) || !reflect.DeepEqual(c, Command{}) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		m := newMachine(t, 8)
		m.init()
		m.do(put("a", "old"))
		before := snapshotOf(t, m.FSM)
		r := m.Apply(logOfData(3, data)).(Result)
		if r.Revision != 3 || !errors.Is(r.Err, ErrBadCommand) || m.Revision() != 3 {
			t.Errorf("%s: %+v at revision %d", name, r, m.Revision())
		}
		m.store.revision = 2 // the one thing that a failed command changes
		if !bytes.Equal(before, snapshotOf(t, m.FSM)) || len(m.events()) != 1 {
			t.Errorf("%s: changed the state", name)
		}
	}
	if _, err := ParseCommand(initOf(strings.Repeat("x", MaxClusterIDBytes), MaxValueLimit)); err != nil {
		t.Errorf("the largest cluster: %v", err)
	}
}

const fieldKeyTag = byte(fieldKey<<3) | byte(protowire.BytesType)

func commandGenerator() *rapid.Generator[Command] {
	return rapid.Custom(func(t *rapid.T) Command {
		c := Command{Op: rapid.SampledFrom([]CommandOp{CommandInit, CommandBatch, CommandExpire, 0, 0}).Draw(t, "op")}
		switch c.Op {
		case CommandInit:
			c.Cluster.ID = string(rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "id"))
			c.Cluster.MaxValueBytes = rapid.IntRange(1, MaxValueLimit).Draw(t, "limit")
			return c
		case CommandBatch:
			for range rapid.IntRange(0, 5).Draw(t, "commands") {
				c.Batch = append(c.Batch, drawAnyChange(t))
			}
		case 0:
			c = drawAnyChange(t)
		}
		if c.Op != CommandExpire && rapid.Bool().Draw(t, "request") {
			c.RequestID = string(rapid.SliceOfN(rapid.Byte(), 1, MaxRequestIDBytes).Draw(t, "id"))
		}
		if c.NeedsStamp() {
			c.Stamp.Term = rapid.Uint64Min(1).Draw(t, "term")
			c.Stamp.Time = time.Duration(rapid.Int64Range(0, int64(maxTime)).Draw(t, "time"))
		}
		return c
	})
}

// drawAnyChange draws a put or delete of any key.
func drawAnyChange(t *rapid.T) Command {
	c := Command{Op: rapid.SampledFrom([]CommandOp{CommandPut, CommandDelete}).Draw(t, "op")}
	c.Key = string(rapid.SliceOf(rapid.Byte()).Draw(t, "key"))
	if c.Op == CommandPut {
		c.Value = rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		if rapid.Bool().Draw(t, "expires") {
			c.TTL = time.Duration(rapid.Int64Range(1, int64(MaxTTL)).Draw(t, "ttl"))
		}
	}
	if rapid.Bool().Draw(t, "conditional") {
		c.IfRevision = new(rapid.Uint64().Draw(t, "revision"))
	}
	return c
}

func TestCommandRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := commandGenerator().Draw(t, "command")
		got, err := ParseCommand(c.Append(nil))
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("%+v came back as %+v, %v", c, got, err)
		}
	})
}

func FuzzParseCommand(f *testing.F) {
	for text := range goldenCommands {
		data, _ := hex.DecodeString(text)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCommand(data)
		if err != nil {
			if !errors.Is(err, ErrBadCommand) {
				t.Fatalf("%x: %v", data, err)
			}
			return
		}
		if again := c.Append(nil); !bytes.Equal(again, data) {
			t.Fatalf("%x is accepted and written as %x", data, again)
		}
	})
}
