// Package natstest makes the connections that tests take for granted.
package natstest

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// patience is far longer than anything here takes where the machine runs at all.
const patience = 30 * time.Second

// Connect connects to url until the test ends. Clients and brokers give each other two seconds for
// the first words, which a busy test machine may take for something else: then Connect tries again.
// Longer limits would hold for later connections, too, which may be what is tested.
func Connect(t testing.TB, url string, options ...nats.Option) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(url, options...)
	for begun := time.Now(); late(err) && time.Since(begun) < patience; {
		conn, err = nats.Connect(url, options...)
	}
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// late knows what both say in such a case by its text: they share no error.
func late(err error) bool { return err != nil && strings.HasSuffix(err.Error(), "timeout") }
