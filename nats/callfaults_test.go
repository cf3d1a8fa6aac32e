package nats

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
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

// TestWriteThatIsTooLongAtAnotherBroker: a write was on its way when its broker went, and the
// next one takes no message as long. It may have taken effect.
func TestWriteThatIsTooLongAtAnotherBroker(t *testing.T) {
	ctx := testContext(t)
	first, _ := startBroker(t)
	second, _ := startBroker(t, func(o *server.Options) { o.MaxPayload = 4096 })
	conn := dial(t, first.ClientURL()+","+second.ClientURL(), append(ClientConn(), nats.DontRandomize())...)
	c, err := NewClient(ClientOptions{Conn: conn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	heard, err := dial(t, first.ClientURL()).SubscribeSync("kv.put.a")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.flush(ctx); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		_, err := c.Put(ctx, "a", make([]byte, 8192))
		written <- err
	}()
	if _, err := heard.NextMsgWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	first.Shutdown()
	tooLong := &Error{Code: CodeTooLarge}
	if err := <-written; !errors.Is(err, &Error{Code: CodeUnknown}) || errors.Is(err, tooLong) || !strings.Contains(err.Error(), "8192 bytes") {
		t.Errorf("the write has ended with %v", err)
	}
	if _, err := c.Put(ctx, "a", make([]byte, 8192)); !errors.Is(err, tooLong) {
		t.Errorf("one that did not go out has ended with %v", err)
	}
}
