package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

// TestBatch: a batch is one revision for who wrote it, for watchers in process
// and over NATS; or nothing has happened.
func TestBatch(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	n := lead(t, single(t))
	client := connect(t, n.NATSURL())
	subscribed := subscribe(t, client, ">")
	w := watch(t, n, ">")
	first := put(t, n, "old", "x")
	batch := []Op{OpPut("a", []byte("1"), IfRevision(0)), OpDelete("old", IfRevision(first)), OpPut("b", []byte("2"))}
	revision, err := n.Batch(ctx, batch)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ops  []Op
		want error
	}{
		"a conflict":  {[]Op{OpPut("c", nil), OpPut("a", nil, IfRevision(1))}, fsm.ErrConflict},
		"no such key": {[]Op{OpPut("c", nil), OpDelete("old")}, fsm.ErrNotFound},
		"nothing":     {nil, fsm.ErrBadBatch},
		"a bad key":   {[]Op{OpPut("c", nil), OpPut("", nil)}, fanout.ErrBadKey},
		"too much":    {make([]Op, fsm.MaxBatch+1), fsm.ErrBadBatch},
	} {
		if _, err := n.Batch(ctx, c.ops); !errors.Is(err, c.want) || strings.Count(err.Error(), "there is no key") > 1 {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
	reply, err := client.RequestWithContext(ctx, "kv.batch", []byte(`[{"op":"put","key":"b","value":"3"},{"op":"delete","key":"a"}]`))
	if err != nil || reply.Header.Get(nats.HeaderRev) == "" {
		t.Fatalf("a batch over NATS: %v, %v", reply, err)
	}
	last := n.Revision()
	if got := reply.Header.Get(nats.HeaderRev); got != fmt.Sprint(last) {
		t.Errorf("the batch over NATS is revision %s, want %d", got, last)
	}
	published := subscribed.collect(6)
	for i, want := range []string{
		fmt.Sprintf("put old 0<%d 0/0", first),
		fmt.Sprintf("put a 0<%d 0/3", revision),
		fmt.Sprintf("delete old %d<%d 1/3", first, revision),
		fmt.Sprintf("put b 0<%d 2/3", revision),
		fmt.Sprintf("put b %d<%d 0/2", revision, last),
		fmt.Sprintf("delete a %d<%d 1/2", revision, last),
	} {
		if got := describe(next(t, w)); got != want {
			t.Errorf("in process: %s, want %s", got, want)
		}
		if got := describe(published[i]); got != want {
			t.Errorf("over NATS: %s, want %s", got, want)
		}
	}
}

func describe(e *fanout.Event) string {
	return fmt.Sprintf("%v %s %d<%d %d/%d", e.Op, e.Key, e.PrevRevision, e.Revision, e.Batch, e.BatchSize)
}
