package nats

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"
)

func TestServiceBatch(t *testing.T) {
	k := startKV(t, newMapBackend())
	batch := `[{"op":"put","key":"a","value":"text","if_rev":0}, {"op":"put","key":"b.%2Ec","base64":"AP8="}, {"op":"put","key":"d","value":""}]`
	if got := k.request("kv.batch", batch, nil); got != (answer{revision: 1}) {
		t.Fatalf("a batch: %+v", got)
	}
	for key, want := range map[string]string{"a": "text", "b.%2Ec": "\x00\xff", "d": ""} {
		if got := k.request("kv.get."+key, "", nil); got != (answer{value: want, revision: 1}) {
			t.Errorf("%s is %+v, want %q", key, got, want)
		}
	}
	got := k.request("kv.batch", `[{"op":"delete","key":"d"},{"op":"put","key":"a","value":"late","if_rev":7}]`, nil)
	if got.code != CodeConflict {
		t.Errorf("a condition that does not hold: %+v", got)
	}
	if got := k.request("kv.get.d", "", nil); got.code != 0 {
		t.Errorf("a batch that was refused has deleted: %+v", got)
	}
	if got := k.request("kv.batch", `[{"op":"delete","key":"d"}]`, nil); got != (answer{revision: 2}) {
		t.Errorf("a delete: %+v", got)
	}
}

// TestServiceRefusesBadBatches: what is malformed gets one line that names it, and
// is not proposed.
func TestServiceRefusesBadBatches(t *testing.T) {
	k := startKV(t, newMapBackend())
	for name, c := range map[string]struct{ payload, says string }{
		"nothing":            {"", "give ["},
		"no JSON":            {"hello", "give ["},
		"an object":          {`{"op":"put","key":"a","value":""}`, "give ["},
		"cut short":          {`[{"op":"put","key":"a","value":""}`, "give ["},
		"two batches":        {`[] []`, "follows"},
		"an unknown field":   {`[{"op":"put","key":"a","value":"","ttl":5}]`, "ttl"},
		"no operation":       {`[{"key":"a","value":""}]`, "put or delete"},
		"another operation":  {`[{"op":"delete","key":"b"},{"op":"get","key":"a"}]`, "operation 1"},
		"no key":             {`[{"op":"delete"}]`, "key"},
		"a malformed key":    {`[{"op":"delete","key":"a%zz"}]`, "key"},
		"no value":           {`[{"op":"put","key":"a"}]`, "one value"},
		"two values":         {`[{"op":"put","key":"a","value":"","base64":"AA=="}]`, "one value"},
		"a value to delete":  {`[{"op":"delete","key":"a","value":""}]`, "no value"},
		"a bad base64":       {`[{"op":"put","key":"a","base64":"!"}]`, "base64"},
		"not UTF-8":          {"[{\"op\":\"put\",\"key\":\"a\",\"value\":\"\xff\"}]", "UTF-8"},
		"half of a pair":     {`[{"op":"put","key":"a","value":"x\ud83d"}]`, `\ud83d, which is half of a character; give a value that is no text as base64`},
		"the other half":     {`[{"op":"put","key":"a","value":"\\\uDE00\ud83d\ude00"}]`, `\uDE00, which is half of a character`},
		"halves in disorder": {`[{"op":"put","key":"a","value":"\ude00\ud83d"}]`, `\ude00, which is half of a character`},
		"half, and text":     {`[{"op":"put","key":"a","value":"\ud83dude00"}]`, `\ud83d, which is half of a character`},
		"half in a key":      {`[{"op":"put","key":"a\ud800","value":""}]`, `\ud800, which is half of a character`},
		"a bad condition":    {`[{"op":"delete","key":"a","if_rev":-1}]`, "if_rev"},
		"a condition twice":  {`[{"op":"delete","key":"b"},{"op":"delete","key":"a","if_rev":7,"if_rev":null}]`, `operation 1 of the batch has the field "if_rev" twice; give it once`},
		"one in other case":  {`[{"op":"delete","key":"a","if_rev":7,"IF_REV":null}]`, `operation 0 of the batch has the field "IF_REV", which is no name of one; write "if_rev"`},
		"other case alone":   {`[{"op":"delete","\u212aey":"a"}]`, `write "key"`},
		"one in escapes":     {`[{"op":"delete","key":"a","if_rev":7 , "if\u005frev" : null}]`, `the field "if_rev" twice`},
		"behind a quote":     {`[{"op":"put","key":"a","value":"\\\"{","base64":null,"if_rev":7,"if_rev":null}]`, `the field "if_rev" twice`},
		"a condition's text": {`[{"op":"delete","key":"a","if_rev":"1"}]`, "if_rev"},
	} {
		got := k.request("kv.batch", c.payload, nil)
		if got.code != CodeBadRequest || !strings.Contains(got.text, c.says) || strings.Contains(got.text, "\n") {
			t.Errorf("%s: got %+v, want 400 that says %s", name, got, c.says)
		}
	}
	if got := k.request("kv.batch", `[]`, nats.Header{HeaderIfRev: {"1"}}); got.code != CodeBadRequest {
		t.Errorf("a condition of all: %+v", got)
	}
	if calls := k.backend.writes(); len(calls) != 0 {
		t.Errorf("proposed: %v", calls)
	}
	long := `[{"op":"delete","key":"` + strings.Repeat("k", 2000) + `"}]`
	if got := k.request("kv.batch", long, nil); got.code != CodeTooLarge {
		t.Errorf("a key too long: %+v", got)
	}
}

// TestBatchEscapes: text is what JSON says it is, however it is written.
func TestBatchEscapes(t *testing.T) {
	got, err := parseOperations([]byte(`[{"op":"put","key":"\ud83d\ude00","value":"\ud83d\uDE00\\\\ud800\\ud800\u00e9\n\"\ufffd"}]`))
	if err != nil {
		t.Fatal(err)
	}
	if key, value := "\U0001F600", "\U0001F600\\\\ud800\\ud800é\n\"\ufffd"; got[0].Key != key || string(got[0].Value) != value {
		t.Errorf("key %q, value %q; want %q and %q", got[0].Key, got[0].Value, key, value)
	}
}

// TestBatchEscapesModel: what is written in escapes is stored as it is, or refused if it is
// no text.
func TestBatchEscapesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		units := rapid.SliceOf(rapid.SampledFrom([]uint16{0xd800, 0xdbff, 0xdc00, 0xdfff, 0xd7ff, 0xe000, 0xfffd, '\\', 'u'})).Draw(t, "units")
		var escapes strings.Builder
		for _, unit := range units {
			if unit == 'u' || unit == '\\' && rapid.Bool().Draw(t, "short") {
				escapes.WriteString(map[uint16]string{'u': "u", '\\': `\\`}[unit])
				continue
			}
			fmt.Fprintf(&escapes, rapid.SampledFrom([]string{`\u%04x`, `\u%04X`}).Draw(t, "form"), unit)
		}
		want := utf16.Decode(units)
		text := slices.Equal(utf16.Encode(want), units)
		switch got, err := parseOperations([]byte(`[{"op":"put","key":"k","value":"` + escapes.String() + `"}]`)); {
		case text && (err != nil || string(got[0].Value) != string(want)):
			t.Fatalf("%s: %+v, %v; want %q", &escapes, got, err, string(want))
		case !text && !errors.Is(err, &Error{Code: CodeBadRequest}):
			t.Fatalf("%s is no text: %+v, %v", &escapes, got, err)
		}
	})
}

// TestBatchFields: what looks like a field within a value is none, and a field may be in
// each operation.
func TestBatchFields(t *testing.T) {
	got, err := parseOperations([]byte("[ {\n\"op\" :\"put\",\"key\":\"key\",\"value\":\"{\\\"key\\\":1,\\\"key\\\":\\\\\"} ,{\"o\\u0070\":\"put\",\"key\":\"op\",\"base64\":[49,50],\"if_rev\":null}]"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Key != "key" || string(got[0].Value) != `{"key":1,"key":\` || got[1].Key != "op" || string(got[1].Value) != "12" {
		t.Errorf("it is read as %+v", got)
	}
}

// TestBatchFieldsModel: a batch is taken if and only if each field of an operation is there
// once, by its own name.
func TestBatchFieldsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOf(rapid.SampledFrom([]string{"op", "key", "value", "if_rev", "ttl", "Op", "KEY", "valuE", "If_Rev", "ttL"})).Draw(t, "fields")
		given, wrong := map[string]bool{"op": true, "key": true, "value": true}, false
		text := `[{"op":"put","key":"a","value":"b"`
		for _, f := range fields {
			wrong = wrong || given[f] || f != strings.ToLower(f)
			given[f] = true
			text += fmt.Sprintf(`, %q :%s`, f, map[string]string{"op": `"put"`, "key": `"a"`, "value": `"\\\""`, "if_rev": "7", "ttl": `"1s"`}[strings.ToLower(f)])
		}
		if _, err := parseOperations([]byte(text + "}]")); wrong != errors.Is(err, &Error{Code: CodeBadRequest}) {
			t.Fatalf("%s}]: %v", text, err)
		}
	})
}

// FuzzParseOperations: whatever comes is refused with a code, or says the same as what
// was read, whatever that is.
func FuzzParseOperations(f *testing.F) {
	f.Add([]byte(batchExample))
	f.Add([]byte(`[{"op":"put","key":"%00","base64":""}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseOperations(data)
		if err != nil {
			if coded := (*Error)(nil); !errors.As(err, &coded) || coded.Code == 0 || got != nil {
				t.Fatalf("%q: %v, %v", data, got, err)
			}
			return
		}
		for _, o := range got {
			if o.Key == "" || o.Delete != (o.Value == nil) {
				t.Fatalf("%q has %+v", data, o)
			}
		}
		if again, err := parseOperations(data); err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%q is read as %+v and as %+v", data, got, again)
		}
	})
}
