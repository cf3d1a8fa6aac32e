package nats

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
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
		"a bad condition":    {`[{"op":"delete","key":"a","if_rev":-1}]`, "if_rev"},
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
