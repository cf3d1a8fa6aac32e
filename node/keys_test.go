package node

import (
	"fmt"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/watchcast/watchcast/fanout"
)

// trickyKeys are byte strings that something on the way might choke on.
var trickyKeys = []string{
	"a", "a.b.c", "/services/x:1", "Größe", "日本", "a b", "%", "%25", "%zz", "*", ">", "a.*", "a.>", "*.>",
	".", "..", ".a", "a.", "a..b", "\x00", "\r\n", "\t", "\x7f", "\xff\xfe", "\xc3", "a\xffb.c", "$SYS", "_INBOX.x", "kv.put.x", "watch.x",
	"put", "PUB a 0", strings.Repeat("k", fanout.MaxKeyBytes), strings.Repeat("\xff", fanout.MaxKeyBytes), strings.Repeat(".", fanout.MaxKeyBytes),
}

// TestKeys sends keys of any bytes around: put by the Go API and by NATS, got
// by both, seen by watchers and a subscriber.
func TestKeys(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	k := keyProbe{n: n, conn: connect(t, n.NATSURL()), all: watch(t, n, ">")}
	sub, err := k.conn.SubscribeSync("watch.>")
	if err != nil {
		t.Fatal(err)
	}
	k.sub = sub
	if err := k.conn.Flush(); err != nil { // the broker knows of it now
		t.Fatal(err)
	}
	for _, key := range trickyKeys {
		if err := k.check(t, key); err != nil {
			t.Fatalf("key %q: %v", key, err)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		raw := rapid.SliceOfN(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte(". %*>\xff"))), 1, 40).Draw(r, "key")
		if err := k.check(t, string(raw)); err != nil {
			r.Fatalf("key %q: %v", raw, err)
		}
	})
}

type keyProbe struct {
	n    *Node
	conn *natsgo.Conn
	sub  *natsgo.Subscription
	all  *fanout.Watcher
}

func (k keyProbe) check(t *testing.T, key string) error {
	ctx := bounded(t)
	one, err := k.n.WatchKey(ctx, key)
	if err != nil {
		return err
	}
	defer one.Stop()
	form := fanout.SubjectForm(key)
	received := func(value string, revision uint64) error {
		for name, w := range map[string]*fanout.Watcher{"watcher of all": k.all, "watcher of the key": one} {
			e, err := w.Next(ctx)
			if err != nil || e.Key != key || string(e.Value) != value || e.Revision != revision {
				return fmt.Errorf("%s received %+v, %v", name, e, err)
			}
		}
		m, err := k.sub.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		if at, err := revisionOf(m); m.Subject != "watch."+form || string(m.Data) != value || at != revision || err != nil {
			return fmt.Errorf("subscriber received %q on %q at %d", m.Data, m.Subject, at)
		}
		if back, err := fanout.ParseSubjectForm(strings.TrimPrefix(m.Subject, "watch.")); back != key {
			return fmt.Errorf("the subject reads as key %q, %v", back, err)
		}
		return nil
	}

	revision, err := k.n.Put(ctx, key, []byte("by Go"))
	if err != nil {
		return err
	}
	if err := received("by Go", revision); err != nil {
		return err
	}
	reply, err := k.conn.RequestWithContext(ctx, "kv.get."+form, nil)
	if err != nil {
		return err
	}
	if at, err := revisionOf(reply); err != nil || at != revision || string(reply.Data) != "by Go" {
		return fmt.Errorf("get over NATS: %q at %d, %w", reply.Data, at, err)
	}

	if reply, err = k.conn.RequestWithContext(ctx, "kv.put."+form, []byte("by NATS")); err != nil {
		return err
	}
	if revision, err = revisionOf(reply); err != nil {
		return err
	}
	if e, err := k.n.Get(ctx, key); err != nil || string(e.Value) != "by NATS" || e.Revision != revision {
		return fmt.Errorf("get by Go: %+v, %w", e, err)
	}
	return received("by NATS", revision)
}

// TestMalformedSubjects requests what is the subject form of no key.
func TestMalformedSubjects(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	conn := connect(t, n.NATSURL())
	before := n.Revision()
	for _, c := range []struct{ subject, code string }{
		{"kv.put", "400"},
		{"kv.get", "400"},
		{"kv.delete", "400"},
		{"kv.put.%zz", "400"},
		{"kv.put.%ff", "400"},   // lower case
		{"kv.put.%61", "400"},   // needs no escape
		{"kv.put.a%2Eb", "400"}, // needs no escape there
		{"kv.put." + strings.Repeat("k", fanout.MaxKeyBytes+1), "413"},
		{"kv.get." + strings.Repeat("k", fanout.MaxKeyBytes+1), "413"},
	} {
		reply := request(t, conn, c.subject, []byte("x"))
		if got := reply.Header.Get("Nats-Service-Error-Code"); got != c.code {
			t.Errorf("%s: code %q, %q; want %s", c.subject, got, reply.Header.Get("Nats-Service-Error"), c.code)
		}
	}
	if n.Revision() != before {
		t.Errorf("malformed requests took the revision from %d to %d", before, n.Revision())
	}
}
