package nats

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

func TestSubjectsCheck(t *testing.T) {
	for _, root := range []string{"watch", "a", "a.b.c", "Größe", "w-1", "a%20b", "watch_", "INBOXES", strings.Repeat("r", maxRootBytes)} {
		s := Subjects{Watch: root, KV: "kv"}
		if err := s.Check(); err != nil {
			t.Errorf("root %q is refused: %v", root, err)
		}
	}
	for _, root := range []string{
		".", "a.", ".a", "a..b", "*", "a.*", ">", "a.>", "a>", "a b", "a\tb", "a\r\nb", "\x00", "\xff", "a%2", "a%20%zz", "%41",
		"$SYS", "$SRV", "$", "_", "_INBOX", "_watch", strings.Repeat("r", maxRootBytes+1), strings.Repeat("r", 5000),
	} {
		for _, s := range []Subjects{{Watch: root}, {KV: root}, {Watch: root, KV: "other"}, {Watch: "other", KV: root}} {
			if err := s.Check(); !errors.Is(err, fanout.ErrBadOption) {
				t.Errorf("%+v: error is %v, want ErrBadOption", s, err)
			}
		}
	}
	for _, s := range []Subjects{
		{Watch: "kv"}, {KV: "watch"}, {Watch: "a", KV: "a"}, {Watch: "a", KV: "a.b"}, {Watch: "a.b", KV: "a"}, {Watch: "kv.x"}, {KV: "watch.kv"},
		// What the leader says of itself would go where clients get replies.
		{Watch: "INBOX"}, {Watch: "INBOX.x"},
	} {
		if err := s.Check(); !errors.Is(err, fanout.ErrBadOption) {
			t.Errorf("%+v: error is %v, want ErrBadOption", s, err)
		}
	}
	for _, s := range []Subjects{{Watch: "a", KV: "ab"}, {Watch: "ab", KV: "a"}, {Watch: "a.b", KV: "a.c"}} {
		if err := s.Check(); err != nil {
			t.Errorf("%+v is refused: %v", s, err)
		}
	}
}

func TestSubjectsOnTheWire(t *testing.T) {
	s := checked(t)
	custom := Subjects{Watch: "my.events", KV: "my.store"}
	if err := custom.Check(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want string }{
		{s.Event("a.b"), "watch.a.b"},
		{s.Event("a b"), "watch.a%20b"},
		{s.Events("a.*"), "watch.a.*"},
		{s.Beacon(), "_watch.beacon"},
		{s.Reset(), "_watch.reset"},
		{s.Request("put", "*"), "kv.put.%2A"},
		{custom.Event("a"), "my.events.a"},
		{custom.Beacon(), "_my.events.beacon"},
		{custom.Request("get", "a"), "my.store.get.a"},
		{strings.Join(custom.PublishedByNodes(), " "), "my.events.> _my.events.>"},
		{strings.Join(custom.AnsweredByNodes(), " "), "my.store.>"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	for _, subject := range []string{"", "watch", "watch.", "watcha.b", "xwatch.a", "kv.put.a", "watch..a", "watch.a.", "watch.*", "watch.a b", "watch.%41", "watch.%2e"} {
		if key, err := s.Key(subject); !errors.Is(err, fanout.ErrBadKey) {
			t.Errorf("%q is the subject of key %q, %v; want ErrBadKey", subject, key, err)
		}
	}
}

func FuzzSubjects(f *testing.F) {
	s := checked(f)
	for _, key := range []string{"a", "a.b", "..", "*", ">", "%", "%25", " ", "\x00", "\xff\xfe", "é", "a\u2028b", "watch.a", "$SYS.a", "_INBOX.a"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if back, err := s.Key(key); err == nil && s.Event(back) != key {
			t.Fatalf("subject %q is of key %q, whose subject is %q", key, back, s.Event(back))
		}
		if fanout.CheckKey(key) != nil {
			return
		}
		subject := s.Event(key)
		if back, err := s.Key(subject); err != nil || back != key {
			t.Fatalf("key %q has subject %q, which is of key %q, %v", key, subject, back, err)
		}
		for token := range strings.SplitSeq(subject, ".") {
			if token == "" || token == "*" || token == ">" || strings.ContainsAny(token, " \t\r\n\x00") {
				t.Fatalf("key %q has subject %q with token %q", key, subject, token)
			}
		}
		if err := fanout.CheckPattern(fanout.SubjectForm(key)); err != nil {
			t.Fatalf("the form of key %q is no pattern: %v", key, err)
		}
	})
}

// exoticKeys returns n different keys made of bytes that are likely to be
// misread somewhere.
func exoticKeys(seed uint64, n int) []string {
	r := rand.New(rand.NewPCG(seed, seed))
	pieces := []string{".", "..", "*", ">", "%", "%2E", " ", "\t", "\r\n", "\x00", "\x7f", "\xff", "\xc3", "é", "世", "\u0085", "\u00a0", "\u2028", "\ufeff", "a", "b", "$SYS", "_INBOX"}
	seen := make(map[string]bool)
	var keys []string
	for len(keys) < n {
		var b strings.Builder
		for range 1 + r.IntN(8) {
			if r.IntN(3) == 0 {
				b.WriteByte(byte(r.Uint32()))
			} else {
				b.WriteString(pieces[r.IntN(len(pieces))])
			}
		}
		if r.IntN(100) == 0 {
			b.WriteString(strings.Repeat("\xff", fanout.MaxKeyBytes-b.Len()))
		}
		if key := b.String(); !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	return keys
}

// Whatever the key, a subscription to exactly it gets it and no other, and so
// does one by wildcards. This is a matter between codec, client library and
// broker, so it goes through all of them.
func TestExoticKeysTravel(t *testing.T) {
	const n = 3000
	ctx := testContext(t)
	longest := Subjects{Watch: strings.Repeat("w", maxRootBytes), KV: strings.Repeat("k", maxRootBytes)}
	if err := longest.Check(); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Subjects{"default roots": checked(t), "longest roots": longest} {
		t.Run(name, func(t *testing.T) {
			broker, _ := startBroker(t)
			conn := dial(t, broker.ClientURL(), nats.SkipSubjectValidation())
			strict := dial(t, broker.ClientURL())
			keys := exoticKeys(1, n)
			exact, all, one, requests := make(chan *nats.Msg, n), make(chan *nats.Msg, n), make(chan *nats.Msg, n), make(chan *nats.Msg, n)
			subscribe := func(subject string, to chan *nats.Msg) {
				t.Helper()
				if _, err := conn.ChanSubscribe(subject, to); err != nil {
					t.Fatalf("subscribe to %q: %v", subject, err)
				}
			}
			subscribe(s.Events(">"), all)
			subscribe(s.Events("*"), one)
			subscribe(s.KV+".delete.>", requests)
			for _, key := range keys {
				subscribe(s.Event(key), exact)
			}
			flush(t, ctx, conn)
			for i, key := range keys {
				from := conn
				if i%2 == 0 {
					from = strict
				}
				if err := from.Publish(s.Event(key), []byte(key)); err != nil {
					t.Fatalf("publish %q: %v", key, err)
				}
				if err := from.PublishRequest(s.Request("delete", key), from.NewInbox(), nil); err != nil {
					t.Fatalf("request %q: %v", key, err)
				}
				if m := receive(t, ctx, "the request arrives", requests); m.Subject != s.Request("delete", key) {
					t.Fatalf("the request for key %q arrives on %q", key, m.Subject)
				}
				for _, to := range []chan *nats.Msg{exact, all} {
					m := receive(t, ctx, "the key arrives", to)
					if got, err := s.Key(m.Subject); err != nil || got != key || string(m.Data) != key {
						t.Fatalf("key %q arrives as %q with %q: %v", key, got, m.Data, err)
					}
				}
				if !strings.Contains(fanout.SubjectForm(key), ".") {
					if m := receive(t, ctx, "a single token arrives", one); string(m.Data) != key {
						t.Fatalf("key %q arrives at * as %q", key, m.Data)
					}
				}
			}
			flush(t, ctx, conn)
			for _, to := range []chan *nats.Msg{exact, all, one, requests} {
				if len(to) > 0 {
					t.Errorf("%q came without need", (<-to).Data)
				}
			}
		})
	}
}
