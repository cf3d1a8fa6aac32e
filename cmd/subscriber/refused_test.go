package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
)

// TestRefusedIsSaidOnce: whom the server lets in no more tries for ever, and says so once.
func TestRefusedIsSaidOnce(t *testing.T) {
	port := server.RANDOM_PORT
	begin := func(password string) *server.Server {
		t.Helper()
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, Username: "u", Password: password})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(limit) {
			t.Fatal("the broker is not ready")
		}
		port = s.Addr().(*net.TCPAddr).Port
		return s
	}
	end := func(s *server.Server) {
		s.Shutdown()
		s.WaitForShutdown()
	}
	broker := begin("p")
	t.Cleanup(func() { end(broker) })
	s := startSubscriber(t, "-s", "nats://u:p@"+broker.Addr().String(), "k")
	await := func(what string, holds func() bool) {
		t.Helper()
		tick, deadline := time.NewTicker(5*time.Millisecond), time.After(limit)
		defer tick.Stop()
		for !holds() {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%s: not within %v; on standard error: %s", what, limit, s.stderr)
			}
		}
	}
	s.saysEventually("may be out of date") // it watches, and there is no leader
	for turn := 1; turn <= 2; turn++ {
		end(broker)
		broker = begin("another")
		await("it tries", func() bool {
			v, err := broker.Varz(nil)
			return err == nil && v.TotalConnections > 3
		})
		end(broker)
		broker = begin("p")
		await("it is back", func() bool { return strings.Count(s.stderr.String(), "connected again") == turn })
		if n := strings.Count(s.stderr.String(), natsgo.ErrAuthorization.Error()); n != turn {
			t.Errorf("turn %d: it was said %d times:\n%s", turn, n, s.stderr)
		}
	}
}
