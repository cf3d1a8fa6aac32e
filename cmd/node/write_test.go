package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/nats"
)

// TestDemoWriteTakesAnotherID: a write of the demo's is the same request for as long as the
// cluster is sure to know it, and another one from then on, which it says.
func TestDemoWriteTakesAnotherID(t *testing.T) {
	broker := ownBroker(t, &server.Options{})
	// In the place of a leader whose majority does not answer until another request comes.
	ids := make(map[string]int)
	first := ""
	_, err := connect(t, broker.ClientURL()).Subscribe("kv.put.demo.count", func(m *natsgo.Msg) {
		id := m.Header.Get(nats.HeaderRequestID)
		if ids[id]++; first == "" {
			first = id
		}
		reply := natsgo.NewMsg(m.Reply)
		if id == first {
			reply.Header.Set("Nats-Service-Error-Code", "504")
			reply.Header.Set("Nats-Service-Error", "unknown outcome")
		}
		m.RespondMsg(reply)
	})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	ctx, cancel := context.WithTimeout(bounded(t), 20*time.Second)
	defer cancel()
	remote{connect(t, broker.ClientURL()), "kv", say, 3 * writeRetry}.put(ctx, "demo.count", "7")
	if len(ids) != 2 || ids[first] < 2 {
		t.Errorf("ids were %v; want the first one again and again, and then one more", ids)
	}
	if len(said) != 3 || !strings.Contains(said[1], "demo.count=7 is not acknowledged within 300ms") || !strings.Contains(said[1], "twice") {
		t.Errorf("said %q", said)
	}
}
