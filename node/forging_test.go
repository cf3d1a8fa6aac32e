package node

import (
	"fmt"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
)

// wantClientRules holds what no client may do, over a connection to url.
func wantClientRules(t *testing.T, n *Node, url string, options ...natsgo.Option) {
	t.Helper()
	option, refused := refusals()
	conn := connect(t, url, append(options, option)...)
	hears := func(subject, queue string) <-chan *natsgo.Msg {
		t.Helper()
		messages := make(chan *natsgo.Msg, 4096)
		if _, err := connect(t, url, options...).ChanQueueSubscribe(subject, queue, messages); err != nil {
			t.Fatal(err)
		}
		return messages
	}
	for _, subject := range []string{"watch.k", "watch.a.b", "_watch.beacon", "_watch.reset", "_watch.ack"} {
		if err := conn.Publish(subject, []byte("forged")); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, refused, "publish", subject)
	}
	for _, subject := range []string{"kv.>", "kv.put.*", "kv.put.k", "kv.*.>", "kv.stale.get.>", "kv.stale.get.k"} {
		for _, queue := range []string{"", "q", "watchcast"} {
			if _, err := conn.QueueSubscribeSync(subject, queue); err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, refused, "subscription", subject)
		}
	}

	// What is wider hears events, and no request.
	everything := hears(">", "")
	var wide []<-chan *natsgo.Msg
	for _, subject := range []string{">", "*.stale.get.*", "*.stale.>", "*.put.*"} {
		for _, queue := range []string{"q", "watchcast"} {
			wide = append(wide, hears(subject, queue))
		}
	}
	for i := range 100 {
		value := fmt.Sprint(i)
		if _, err := revisionOf(request(t, conn, "kv.put.heard", []byte(value))); err != nil {
			t.Fatal(err)
		}
		if reply := request(t, conn, "kv.stale.get.heard", nil); string(reply.Data) != value {
			t.Fatalf("a stale read is answered with %v %q, want %q", reply.Header, reply.Data, value)
		}
	}
	wantForgesNothing(t, n, conn, everything)
	for _, messages := range wide {
		for range len(messages) {
			if m := <-messages; strings.HasPrefix(m.Subject, "kv.") {
				t.Fatalf("a client's subscription to %s received %s", m.Sub.Subject, m.Subject)
			}
		}
	}
}

// wantForgesNothing sends requests of every kind, all of which are in order, with
// reply subjects that only nodes may write to. What they ask for is done; the answer
// goes nowhere. everything is what a client hears on all subjects.
func wantForgesNothing(t *testing.T, n *Node, conn *natsgo.Conn, everything <-chan *natsgo.Msg) {
	t.Helper()
	replies := []string{"watch.victim", "watch.a.b", "_watch.reset", "_watch.beacon", "_watch.ack", "kv.put.victim", "kv.delete.bait", "kv.batch"}
	if _, err := revisionOf(request(t, conn, "kv.put.bait", []byte("bait"))); err != nil {
		t.Fatal(err)
	}
	for _, reply := range replies {
		for subject, payload := range map[string]string{
			"kv.put.own": "forged", "kv.get.bait": "", "kv.get.absent": "", "kv.stale.get.bait": "", "kv.delete.own": "",
			"kv.batch": `[{"op":"put","key":"own","value":"forged"}]`, "$SRV.PING": "", "$SRV.INFO.watchcast": "", "$SRV.STATS": "",
		} {
			if err := conn.PublishRequest(subject, reply, []byte(payload)); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(reply, "kv.") {
			continue // where a client may send a request itself
		}
		// The broker itself writes where a message asks for its trace.
		m := natsgo.NewMsg("traced")
		m.Header.Set("Nats-Trace-Dest", reply)
		if err := conn.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	// Requests of one client to one subject root are answered in order, and events are
	// in the order of revisions: behind these, all is done.
	for _, subject := range []string{"kv.get.bait", "kv.stale.get.bait"} {
		if reply := request(t, conn, subject, nil); string(reply.Data) != "bait" {
			t.Fatalf("%s after the forgeries: %v %q", subject, reply.Header, reply.Data)
		}
	}
	if _, err := revisionOf(request(t, conn, "kv.batch", []byte(`[{"op":"put","key":"last","value":"x"}]`))); err != nil {
		t.Fatal(err)
	}
	if reply := request(t, conn, "kv.get.victim", nil); reply.Header.Get("Nats-Service-Error-Code") != "404" {
		t.Fatalf("the node was made to write: %v %q", reply.Header, reply.Data)
	}
	for m := receive(t, everything); m.Subject != "watch.last"; m = receive(t, everything) {
		switch root, _, _ := strings.Cut(m.Subject, "."); {
		case root == "kv":
			t.Fatalf("a client received the request %s", m.Subject)
		case root == "watch" && (m.Header.Get("Watch-Op") == "" || m.Subject == "watch.victim"):
			t.Fatalf("the node was made to publish %v %q on %s", m.Header, m.Data, m.Subject)
		case root == "_watch" && m.Subject != "_watch.beacon" && m.Subject != "_watch.ack":
			t.Fatalf("the node was made to publish %v %q on %s", m.Header, m.Data, m.Subject)
		case root == "_watch" && !strings.HasPrefix(string(m.Data), "{"):
			t.Fatalf("the node was made to publish %q on %s", m.Data, m.Subject)
		}
	}
}

// TestAnonymousClients holds the same of who shows no credentials.
func TestAnonymousClients(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	wantClientRules(t, n, n.NATSURL())
}
