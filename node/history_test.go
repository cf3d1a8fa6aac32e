package node

import (
	"fmt"
	"slices"
	"testing"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watchcast/watchcast/internal/freeport"
)

// TestHistory: a JetStream stream on the subjects of the events stores each change
// once, though the node publishes it twice.
func TestHistory(t *testing.T) {
	t.Parallel()
	addr := freeport.Address(t)
	natsServers(t)(natsConfigFile(t, fmt.Sprintf(`listen: %q, jetstream { store_dir: %q }`, addr, t.TempDir())), addr)
	conn := connect(t, "nats://"+addr)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(bounded(t), jetstream.StreamConfig{Name: "changes", Subjects: []string{"watch.>"}})
	if err != nil {
		t.Fatal(err)
	}
	events := subscribe(t, conn, ">")

	config := single(t)
	config.NATS, config.NATSURL = "", "nats://"+addr
	n := lead(t, config)
	for i := range 20 {
		put(t, n, fmt.Sprint("k", i%7), fmt.Sprint(i))
	}
	if _, err := revisionOf(request(t, conn, "kv.batch", []byte(`[{"op":"put","key":"a","value":"1"},{"op":"put","key":"b","value":"2"},{"op":"delete","key":"k0"}]`))); err != nil {
		t.Fatal(err)
	}
	written := events.collect(23)
	stop(t, n)

	// The next start knows of half of what was published, as after a crash.
	known := record(t, config)
	known.Revision = written[9].Revision
	setRecord(t, config, asJSON(t, known))
	n = lead(t, config)
	last := put(t, n, "last", "x")
	if got := len(events.seen(last)); got != 23+13+1 {
		t.Fatalf("%d events were published; want 23, 13 of them again, and the last", got)
	}

	consumer, err := stream.OrderedConsumer(bounded(t), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var stored []string
	for {
		m, err := consumer.Next(jetstream.FetchContext(bounded(t)))
		if err != nil {
			t.Fatal(err)
		}
		e, err := n.config.Subjects.DecodeEvent(&natsgo.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, fmt.Sprint(e.Revision, e.Key, e.Op, string(e.Value)))
		if e.Revision == last {
			break
		}
	}
	var want []string
	for _, e := range append(written, events.seen(last)[36:]...) {
		want = append(want, fmt.Sprint(e.Revision, e.Key, e.Op, string(e.Value)))
	}
	if !slices.Equal(stored, want) {
		t.Errorf("the stream has %q; want each change once: %q", stored, want)
	}
}
