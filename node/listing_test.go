package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

// listed is an entry of a listing, as docs/protocol.md has it.
type listed struct {
	op, time, ttl, key, value string
	revision                  uint64
}

func (l listed) String() string { return fmt.Sprintf("%s %s=%s@%d", l.op, l.key, l.value, l.revision) }

// listing is all that is answered to a list or since.
type listing struct {
	revision uint64
	chunks   int
	entries  []listed
}

func (l listing) strings() (all []string) {
	for _, e := range l.entries {
		all = append(all, e.String())
	}
	slices.Sort(all)
	return all
}

// listOver takes a listing over NATS, with no more than the protocol says. The error is
// what the node answered, with the oldest revision that can be asked for. After each
// chunk but the last between is called.
func listOver(t *testing.T, conn *natsgo.Conn, subject, pattern string, header natsgo.Header, between ...func()) (l listing, err error) {
	t.Helper()
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := conn.PublishMsg(&natsgo.Msg{Subject: subject, Reply: inbox, Header: header, Data: []byte(pattern)}); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := sub.NextMsg(patience / 3)
		if err != nil {
			return l, fmt.Errorf("chunk %d: %w", l.chunks+1, err)
		}
		revision, err := revisionOf(m)
		if err != nil {
			return l, fmt.Errorf("%w (%s)", err, m.Header.Get(nats.HeaderOldest))
		}
		if l.chunks++; m.Header.Get(nats.HeaderChunk) != strconv.Itoa(l.chunks) || l.revision > 0 && l.revision != revision {
			t.Fatalf("%s: chunk %d at %d has %v", subject, l.chunks, l.revision, m.Header)
		}
		l.revision = revision
		for rest := m.Data; len(rest) > 0; {
			line, value, _ := bytes.Cut(rest, []byte("\n"))
			fields := strings.Split(string(line), " ")
			revision, err1 := strconv.ParseUint(fields[1], 10, 64)
			n, err2 := strconv.Atoi(fields[4])
			if err := errors.Join(err1, err2); err != nil || len(fields) != 6 || value[n] != '\n' {
				t.Fatalf("%s: an entry begins with %q, %v", subject, line, err)
			}
			l.entries = append(l.entries, listed{fields[0], fields[2], fields[3], fields[5], string(value[:n]), revision})
			rest = value[n+1:]
		}
		if m.Header.Get(nats.HeaderLast) == "true" {
			return l, nil
		}
		for _, f := range between {
			f()
		}
		if err := conn.Publish(m.Reply, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func sinceHeader(revision uint64) natsgo.Header {
	return natsgo.Header{nats.HeaderSince: {fmt.Sprint(revision)}}
}

// TestListOverNATS: what there is, and what has changed, as any client can ask.
func TestListOverNATS(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	conn := connect(t, n.NATSURL())
	list := func(subject, pattern string, header natsgo.Header) listing {
		t.Helper()
		l, err := listOver(t, conn, subject, pattern, header)
		if err != nil {
			t.Fatalf("%s %s %v: %v", subject, pattern, header, err)
		}
		if l.revision != n.Revision() {
			t.Errorf("%s %s %v is of %d, the node at %d", subject, pattern, header, l.revision, n.Revision())
		}
		return l
	}
	want := func(l listing, all ...string) {
		t.Helper()
		if !slices.Equal(l.strings(), all) {
			t.Errorf("listed %q, want %q", l.strings(), all)
		}
	}
	want(list("kv.list", "", nil))
	odd := strings.Repeat("\x00 \xff.", 250) // 1,000 bytes
	one := put(t, n, "app.a", "1")
	two := put(t, n, odd, "any\n\x00bytes")
	three, err := n.Put(bounded(t), "app.ttl", []byte("x"), TTL(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	before := list("kv.since", "", nil).revision
	oddly := fmt.Sprintf("put %s=any\n\x00bytes@%d", fanout.SubjectForm(odd), two)
	all := []string{fmt.Sprintf("put app.a=1@%d", one), fmt.Sprintf("put app.ttl=x@%d", three)}
	for _, op := range []string{"list", "stale.list"} {
		want(list("kv."+op, "app.*", nil), all...)
		want(list("kv."+op, ">", nil), slices.Sorted(slices.Values(append([]string{oddly}, all...)))...)
	}
	withTTL := list("kv.list", "app.ttl", nil).entries[0]
	at, err := time.Parse(time.RFC3339Nano, withTTL.time)
	ttl, err2 := time.ParseDuration(withTTL.ttl)
	if err != nil || err2 != nil || time.Since(at) > patience || ttl > time.Hour || ttl < time.Hour-patience {
		t.Errorf("the entry with a time to live is %+v", withTTL)
	}
	if l := list("kv.list", "app.a", nil).entries[0]; l.ttl != "-" {
		t.Errorf("the entry without a time to live is %+v", l)
	}

	want(list("kv.since", "", sinceHeader(before)))
	four := put(t, n, "app.a", "2")
	gone, err := n.Delete(bounded(t), "app.ttl")
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{"since", "stale.since"} {
		changed := list("kv."+op, ">", sinceHeader(before))
		want(changed, fmt.Sprintf("delete app.ttl=@%d", gone), fmt.Sprintf("put app.a=2@%d", four))
		want(list("kv."+op, "app.ttl", sinceHeader(before)), fmt.Sprintf("delete app.ttl=@%d", gone))
		want(list("kv."+op, ">", sinceHeader(four)), fmt.Sprintf("delete app.ttl=@%d", gone))
		want(list("kv."+op, "other", sinceHeader(before)))
		_, err := listOver(t, conn, "kv."+op, "", sinceHeader(gone+1))
		if err == nil || !strings.HasPrefix(err.Error(), "410: ") || !strings.HasSuffix(err.Error(), "(0)") {
			t.Errorf("since a revision that is not there yet: %v", err)
		}
	}
	changes, err := n.Since(bounded(t), "app.>", before)
	if err != nil || changes.Revision != n.Revision() {
		t.Fatalf("in process: through %d, %v", changes.Revision, err)
	}
	seen := 0
	for c := range changes.All() {
		seen++
		if c.Revision != four && c.Revision != gone {
			t.Errorf("in process: %+v", c)
		}
	}
	if seen != 2 {
		t.Errorf("in process: %d changes, want 2", seen)
	}
}

// TestSinceABackup: after a backup was restored nothing is told of the time before,
// also after a restart.
func TestSinceABackup(t *testing.T) {
	t.Parallel()
	config := single(t)
	n := lead(t, config)
	put(t, n, "k", "old")
	backup, _ := backupOf(t, n)
	known := put(t, n, "k", "new")
	put(t, n, "another", "")
	restored := restoreInto(t, n, backup)
	refuses := func() {
		t.Helper()
		conn := connect(t, n.NATSURL())
		for _, subject := range []string{"kv.since", "kv.stale.since"} {
			for _, revision := range []uint64{0, known, restored.Revision - 1} {
				_, err := listOver(t, conn, subject, "", sinceHeader(revision))
				if err == nil || !strings.HasPrefix(err.Error(), "410: ") || !strings.HasSuffix(err.Error(), fmt.Sprintf("(%d)", restored.Revision)) {
					t.Errorf("%s %d: %v; want 410 with the oldest, %d", subject, revision, err, restored.Revision)
				}
			}
			if _, err := listOver(t, conn, subject, "", sinceHeader(restored.Revision)); err != nil {
				t.Errorf("%s %d, that of the restore: %v", subject, restored.Revision, err)
			}
		}
		if _, err := n.Since(bounded(t), ">", known); !errors.Is(err, fsm.ErrGone) {
			t.Errorf("in process: %v", err)
		}
	}
	refuses()
	stop(t, n)
	n = lead(t, config)
	refuses()
}

// TestSinceABackupOnFollowers: nor do those tell it that got the backup as a snapshot.
func TestSinceABackupOnFollowers(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, _ := split(t, nodes)
	backup, _ := backupOf(t, leader)
	known := put(t, leader, "k", "undone")
	restored := restoreInto(t, leader, backup)
	for _, n := range nodes {
		var gone *fsm.GoneError
		_, err := n.Since(bounded(t), ">", known, Stale(restored.Revision))
		if !errors.As(err, &gone) || gone.Oldest != restored.Revision {
			t.Errorf("%s, since %d: %v; want that it is gone, with the oldest %d", n.ID(), known, err, restored.Revision)
		}
	}
}

// TestListOfAFollower: each node answers stale lists, with what it has.
func TestListOfAFollower(t *testing.T) {
	t.Parallel()
	leader, others := split(t, clusterOf(t, 3))
	revision := put(t, leader, "k", "v")
	for _, n := range others {
		conn := connect(t, n.NATSURL())
		for range 10 { // whichever node is asked
			l, err := listOver(t, conn, "kv.stale.list", "k", natsgo.Header{nats.HeaderMinRev: {fmt.Sprint(revision)}})
			if err != nil || l.revision < revision || len(l.entries) != 1 {
				t.Fatalf("%v at %d, %v", l.strings(), l.revision, err)
			}
		}
		eventually(t, "the leader answers, whoever leads by now", func() bool {
			l, err := listOver(t, conn, "kv.list", "", nil)
			return err == nil && len(l.entries) == 1
		})
		if _, err := n.Since(bounded(t), ">", 0); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a linearizable since of a follower: %v", err)
		}
		if c, err := n.Since(bounded(t), ">", 0, Stale(revision)); err != nil || c.Revision < revision {
			t.Errorf("a stale since: through %d, %v", c.Revision, err)
		}
	}
}

// TestLongListWhileItChanges: 100,000 keys come at one revision, though keys are changed
// and made everywhere while they come; and what has changed since brings the list to
// where the store is.
func TestLongListWhileItChanges(t *testing.T) {
	t.Parallel()
	const keys = 100_000
	config := single(t)
	config.InMemory, config.DataDir = true, ""
	n := lead(t, config)
	written := 0
	write := func(batches int) {
		for range batches {
			var ops []Op
			for ; len(ops) < fsm.MaxBatch; written++ {
				key, round := fmt.Sprintf("k.%06d", written*7919%keys), written/keys
				if round > 0 && written%1000 == 999 {
					key = "new." + key
				}
				ops = append(ops, OpPut(key, fmt.Append(nil, round)))
			}
			if _, err := n.Batch(context.Background(), ops); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(keys/fsm.MaxBatch + 1)
	conn := connect(t, n.NATSURL())
	first := n.Revision()
	l, err := listOver(t, conn, "kv.list", "", nil, func() { write(2) })
	if err != nil {
		t.Fatal(err)
	}
	if l.revision != first || len(l.entries) != keys || l.chunks < 4*nats.MaxOpenChunks {
		t.Errorf("the list has %d entries at %d, in %d chunks; it began at %d", len(l.entries), l.revision, l.chunks, first)
	}
	state := map[string]listed{}
	for _, e := range l.entries {
		if _, twice := state[e.key]; twice || e.revision > l.revision {
			t.Fatalf("%v is there twice: %v; the list is of %d", e, twice, l.revision)
		}
		state[e.key] = e
	}
	changed, err := listOver(t, conn, "kv.since", "", sinceHeader(l.revision))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range changed.entries {
		if e.revision <= l.revision || e.revision > changed.revision || e.op != "put" {
			t.Fatalf("%v is there, from %d through %d", e, l.revision, changed.revision)
		}
		state[e.key] = e
	}
	now, err := listOver(t, conn, "kv.list", "", nil)
	if err != nil || now.revision != changed.revision {
		t.Fatalf("the state is of %d, the changes went through %d, %v", now.revision, changed.revision, err)
	}
	if len(now.entries) < keys {
		t.Errorf("there are %d keys", len(now.entries))
	}
	for _, e := range now.entries {
		if state[e.key] != e {
			t.Fatalf("after the changes there is %v, want %v", state[e.key], e)
		}
		delete(state, e.key)
	}
	if len(state) > 0 {
		t.Errorf("%d keys are there that do not exist", len(state))
	}
}
