package node

import (
	"log/slog"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/nats"
)

// TestClustersAtOneBroker: two clusters at one broker are apart if each has subjects of its
// own; where they have the same, both say so in one line.
func TestClustersAtOneBroker(t *testing.T) {
	t.Parallel()
	broker := oneBroker(t, 0)
	founded := func(subjects nats.Subjects) (*Node, *logged) {
		t.Helper()
		c, log := single(t), &logged{}
		c.NATS, c.NATSURL, c.Subjects = "", broker.ClientURL(), subjects
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
		return lead(t, c), log
	}
	const mixed = "another cluster has the same subjects"
	first, firstLog := founded(nats.Subjects{})
	own, ownLog := founded(nats.Subjects{Watch: "other.watch", KV: "other.kv"})

	conn := connect(t, broker.ClientURL())
	events := make(chan *natsgo.Msg, 16)
	for _, subject := range []string{"watch.>", "other.watch.>"} {
		if _, err := conn.ChanSubscribe(subject, events); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		kv, event string
		has, not  *Node
	}{
		{"kv", "watch.first", first, own},
		{"other.kv", "other.watch.second", own, first},
	} {
		key := c.event[strings.LastIndex(c.event, ".")+1:]
		reply, err := conn.RequestWithContext(bounded(t), c.kv+".put."+key, []byte(c.kv))
		if err != nil {
			t.Fatal(err)
		}
		revision, err := revisionOf(reply)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := c.has.Get(bounded(t), key); err != nil || e.Revision != revision {
			t.Errorf("%s: %v, %v; want revision %d", key, e, err, revision)
		}
		if e, err := c.not.Get(bounded(t), key); err == nil {
			t.Errorf("%s is in the other cluster, too: %v", key, e)
		}
		select {
		case m := <-events:
			if m.Subject != c.event {
				t.Errorf("an event on %s; want %s", m.Subject, c.event)
			}
		case <-bounded(t).Done():
			t.Fatalf("no event on %s", c.event)
		}
	}
	if said := append(firstLog.lines(mixed), ownLog.lines(mixed)...); len(said) > 0 {
		t.Errorf("with subjects of its own: %q", said)
	}

	_, same := founded(nats.Subjects{})
	for _, log := range []*logged{firstLog, same} {
		eventually(t, "the log says it", func() bool { return len(log.lines(mixed)) > 0 })
		if said := log.lines(mixed)[0]; !strings.Contains(said, "--watch-root and --kv-root") || !strings.Contains(said, "cluster=") {
			t.Errorf("it says %q", said)
		}
	}
	if said := ownLog.lines(mixed); len(said) > 0 {
		t.Errorf("beside clusters with other subjects: %q", said)
	}
}
