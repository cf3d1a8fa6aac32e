package nats

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestBehindADroppedWrite: where the library drops a subscription because the socket had no
// room for it, the connection is made anew, and the subscription with it.
func TestBehindADroppedWrite(t *testing.T) {
	t.Run("client", func(t *testing.T) { behindADroppedWrite(t, ClientConn()) })
	t.Run("service", func(t *testing.T) { behindADroppedWrite(t, ServiceConn()) })
}

func behindADroppedWrite(t *testing.T, options []nats.Option) {
	t.Helper()
	broker, stop := startBroker(t)
	defer stop()
	o := nats.GetDefaultOptions()
	for _, option := range append(options, nats.FlusherTimeout(20*time.Millisecond), nats.ReconnectWait(time.Millisecond)) {
		if err := option(&o); err != nil {
			t.Fatal(err)
		}
	}
	whole, ok := o.CustomDialer.(wholeDialer)
	if !ok {
		t.Fatalf("the dialer is a %T", o.CustomDialer)
	}
	d := new(stuckDialer)
	whole.under = d
	o.CustomDialer, o.Url = whole, broker.ClientURL()
	conn, err := o.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := testContext(t)
	c := d.conn()
	c.stickNext()
	heard := make(chan *nats.Msg, 1<<10)
	if _, err := conn.ChanSubscribe("news", heard); err != nil {
		t.Fatal(err)
	}
	receive(t, ctx, "the subscription comes and is stuck", c.stuck)
	other := dial(t, broker.ClientURL())
	eventually(t, ctx, "it hears what is published", func() bool {
		if err := other.Publish("news", nil); err != nil {
			t.Fatal(err)
		}
		return len(heard) > 0
	})
}
