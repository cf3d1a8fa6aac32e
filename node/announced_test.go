package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
)

// externalBroker is a broker that outlives the nodes of a test, so that a
// subscriber on it hears all that they ever publish.
func externalBroker(t *testing.T) *natsgo.Conn {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the external broker is not ready")
	}
	return connect(t, s.ClientURL())
}

// onBroker is a node on its own whose broker is somebody else's.
func onBroker(t *testing.T, conn *natsgo.Conn) Config {
	c := single(t)
	c.NATS, c.NATSURL = "", conn.ConnectedUrl()
	return c
}

func record(t *testing.T, c Config) announcement {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.DataDir, "announced"))
	if err != nil {
		t.Fatal(err)
	}
	var a announcement
	if err := json.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func setRecord(t *testing.T, c Config, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.DataDir, "announced"), []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestRecordOfCleanStop holds that a clean stop records exactly what there is.
func TestRecordOfCleanStop(t *testing.T) {
	t.Parallel()
	config := single(t)
	n := lead(t, config)
	var last uint64
	for i := range 500 {
		last = put(t, n, fmt.Sprint(i), "x")
	}
	cluster, _ := n.machine.Cluster()
	want := announcement{Cluster: cluster.ID, Term: n.Status().Term, Revision: last}
	stop(t, n)
	if got := record(t, config); got != want {
		t.Fatalf("recorded %+v; want %+v", got, want)
	}
}

// TestRecordIsGone: a record that somebody removed is written again by a clean stop, also if
// nothing has changed since.
func TestRecordIsGone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "announced")
	a := announced{now: announcement{Cluster: "c", Term: 2, Revision: 10}}
	for range 2 {
		if err := a.save(path, true); err != nil {
			t.Fatal(err)
		}
		var again announced
		if err := again.load(path); err != nil || again.now != a.now {
			t.Fatalf("the record is %+v, %v; want %+v", again.now, err, a.now)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWithoutRecord starts nodes that cannot know what was announced: they say
// so, over the whole range, once.
func TestWithoutRecord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		tamper func(*testing.T, Config)
	}{
		{"deleted", func(t *testing.T, c Config) {
			if err := os.Remove(filepath.Join(c.DataDir, "announced")); err != nil {
				t.Fatal(err)
			}
		}},
		{"empty", func(t *testing.T, c Config) { setRecord(t, c, "") }},
		{"garbage", func(t *testing.T, c Config) { setRecord(t, c, "\x00\xff{]") }},
		{"cut short", func(t *testing.T, c Config) { setRecord(t, c, asJSON(t, record(t, c))[:20]) }},
		{"nothing in it", func(t *testing.T, c Config) { setRecord(t, c, "{}") }},
		{"null", func(t *testing.T, c Config) { setRecord(t, c, "null") }},
		{"of another cluster", func(t *testing.T, c Config) {
			a := record(t, c)
			a.Cluster = "another"
			setRecord(t, c, asJSON(t, a))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			testWithoutRecord(t, c.tamper)
		})
	}
}

func testWithoutRecord(t *testing.T, tamper func(*testing.T, Config)) {
	conn := externalBroker(t)
	config := onBroker(t, conn)
	n := lead(t, config)
	var last uint64
	for i := range 20 {
		last = put(t, n, fmt.Sprint(i), "x")
	}
	stop(t, n)
	tamper(t, config)

	published := subscribe(t, conn, ">")
	n = start(t, config)
	revision := put(t, n, "news", "x")
	if got := published.seen(revision); len(got) != 1 {
		t.Fatalf("%d events were published, the first is %+v; want the new one only", len(got), got[0])
	}
	cluster, _ := n.machine.Cluster()
	want := []nats.Reset{{Cluster: cluster.ID, Term: n.Status().Term, Range: nats.Range{From: 1, To: last}}}
	if got := published.losses(); !slices.Equal(got, want) {
		t.Fatalf("resets are %+v; want %+v", got, want)
	}
	stop(t, n)

	n = start(t, config)
	revision = put(t, n, "more news", "x")
	if got := published.seen(revision); len(got) != 2 || len(published.losses()) != 1 {
		t.Fatalf("after one more restart there are %d events and resets %+v; want one more event", len(got), published.losses())
	}
}

// TestOlderRecord starts a node that has recorded less than it announced, as
// after a crash: the rest is announced again, once and in order, and no more.
func TestOlderRecord(t *testing.T) {
	t.Parallel()
	const recorded, more = 50, 100
	conn := externalBroker(t)
	config := onBroker(t, conn)
	n := lead(t, config)
	for i := range recorded {
		put(t, n, fmt.Sprint(i), "recorded")
	}
	stop(t, n)
	older := record(t, config)
	n = lead(t, config)
	revisions := make([]uint64, more)
	for i := range revisions {
		revisions[i] = put(t, n, fmt.Sprint(i), "more")
	}
	stop(t, n)
	setRecord(t, config, asJSON(t, older))

	published := subscribe(t, conn, ">")
	n = start(t, config)
	w := watch(t, n, ">", fanout.WithBuffer(2*more))
	if w.Start() < older.Revision {
		t.Fatalf("a watcher starts at %d; everything up to %d was announced", w.Start(), older.Revision)
	}
	revisions = append(revisions, put(t, n, "news", "x"))
	var got []uint64
	for _, e := range published.seen(revisions[more]) {
		got = append(got, e.Revision)
	}
	if !slices.Equal(got, revisions) {
		t.Fatalf("published were revisions %d; want %d", got, revisions)
	}
	published.noResets()
	for _, revision := range revisions {
		if revision <= w.Start() {
			continue
		}
		if e := next(t, w); e.Revision != revision {
			t.Fatalf("the watcher from %d received %+v; want revision %d", w.Start(), e, revision)
		}
	}
}

// TestOlderRecordThanTheRing starts a node that has more to announce again than
// it keeps: the part that it does not have is announced as lost.
func TestOlderRecordThanTheRing(t *testing.T) {
	t.Parallel()
	const slots, more = 16, 100
	conn := externalBroker(t)
	config := onBroker(t, conn)
	stop(t, lead(t, config))
	older := record(t, config)
	n := lead(t, config)
	revisions := make([]uint64, more)
	for i := range revisions {
		revisions[i] = put(t, n, fmt.Sprint(i), "x")
	}
	stop(t, n)
	setRecord(t, config, asJSON(t, older))

	published := subscribe(t, conn, ">")
	config.Ring.Slots = slots
	n = start(t, config)
	waitReady(t, n)
	var got []uint64
	for _, e := range published.seen(revisions[more-1]) {
		got = append(got, e.Revision)
	}
	kept := revisions[more-slots:]
	if !slices.Equal(got, kept) {
		t.Fatalf("published were revisions %d; want %d", got, kept)
	}
	if lost := published.losses(); len(lost) != 1 || lost[0].From > revisions[0] || lost[0].To != kept[0]-1 {
		t.Fatalf("resets are %+v; want one of %d..%d", lost, revisions[0], kept[0]-1)
	}
}

// TestRecordIsKeptUp holds that a crash at any time costs about a second of
// repeats, and never a reset once there was a leader.
func TestRecordIsKeptUp(t *testing.T) {
	t.Parallel()
	config := single(t)
	n := lead(t, config)
	first := record(t, config) // written before the first write can be
	revision := put(t, n, "k", "v")
	if first.Cluster == "" || first.Revision >= revision {
		t.Fatalf("recorded %+v before revision %d", first, revision)
	}
	eventually(t, "the revision is recorded", func() bool { return record(t, config).Revision == revision })
}

func TestNote(t *testing.T) {
	t.Parallel()
	var a announced
	if _, ok := a.get(); ok {
		t.Fatal("nothing was noted, and something is known")
	}
	for _, c := range []struct{ note, want announcement }{
		{announcement{"c", 2, 10}, announcement{"c", 2, 10}},
		{announcement{"c", 2, 12}, announcement{"c", 2, 12}},
		{announcement{"c", 2, 11}, announcement{"c", 2, 12}}, // late
		{announcement{"c", 1, 20}, announcement{"c", 2, 12}}, // of a leader that does not know its end
		{announcement{"c", 3, 12}, announcement{"c", 3, 12}},
	} {
		a.note(c.note)
		if got, _ := a.get(); got != c.want {
			t.Errorf("after %+v known is %+v; want %+v", c.note, got, c.want)
		}
	}
	a.forget()
	if got, ok := a.get(); ok {
		t.Errorf("%+v is known after all was forgotten", got)
	}
}

// TestBeacons holds whose word counts.
func TestBeacons(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	revision := put(t, n, "k", "v")
	eventually(t, "the revision is noted", func() bool { a, _ := n.announced.get(); return a.Revision == revision })
	before, _ := n.announced.get()
	for _, b := range []nats.Beacon{
		{Cluster: "another", Term: before.Term + 1, Safe: revision + 10},
		{Cluster: before.Cluster, Term: before.Term - 1, Safe: revision + 10},
	} {
		n.hearBeacon(&natsgo.Msg{Data: []byte(asJSON(t, b))})
		if got, _ := n.announced.get(); got != before {
			t.Errorf("after beacon %+v known is %+v; want %+v", b, got, before)
		}
	}
	n.hearBeacon(&natsgo.Msg{Data: []byte("garbage")})
	n.hearBeacon(&natsgo.Msg{Data: []byte(asJSON(t, nats.Beacon{Cluster: before.Cluster, Term: before.Term, Safe: revision + 1}))})
	if got, _ := n.announced.get(); got.Revision != revision+1 {
		t.Errorf("known is %+v after a beacon of %d", got, revision+1)
	}
}
