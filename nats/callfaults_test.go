package nats

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestLongRequestMeetsAFullSocket: a long request is written at once, and the client library
// says itself that it could not be. It is sent again as any other one.
func TestLongRequestMeetsAFullSocket(t *testing.T) {
	ctx, d := testContext(t), new(stuckDialer)
	k := startKV(t, newMapBackend())
	c, err := NewClient(ClientOptions{Conn: dial(t, k.broker.ClientURL(),
		append(ClientConn(), nats.SetCustomDialer(d), nats.FlusherTimeout(20*time.Millisecond))...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Put(ctx, "short", nil); err != nil { // the inbox is made
		t.Fatal(err)
	}
	value := strings.Repeat("x", nats.DefaultWriteBufSize)
	d.conn().stickNext()
	if _, err := c.Put(ctx, "long", []byte(value)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.conn().stuck:
	default:
		t.Error("no write has failed")
	}
	if e, err := c.Get(ctx, "long"); err != nil || string(e.Value) != value {
		t.Errorf("%d bytes, %v; want %d", len(e.Value), err, len(value))
	}
}
