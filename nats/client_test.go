package nats

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

// TestClientOptions: what cannot hold is refused, by name. A write that is sent again for
// longer than its id is remembered could take effect twice.
func TestClientOptions(t *testing.T) {
	broker, _ := startBroker(t)
	conn := dial(t, broker.ClientURL(), ClientConn()...)
	for _, c := range []struct {
		o    ClientOptions
		says []string // nothing if it is good
	}{
		{ClientOptions{}, []string{"connection"}},
		{ClientOptions{Conn: conn, Timeout: -1}, []string{"ClientOptions.Timeout", "-1ns", "above 0"}},
		{ClientOptions{Conn: conn, Timeout: maxRetry + 1}, []string{"ClientOptions.Timeout", "4m0.000000001s", "4m0s at most"}},
		{ClientOptions{Conn: conn, Timeout: maxRetry}, nil},
		{ClientOptions{Conn: conn, Verify: time.Second - 1}, []string{"ClientOptions.Verify", "999.999999ms", "1s or more"}},
		{ClientOptions{Conn: conn}, nil},
	} {
		client, err := NewClient(c.o)
		if err == nil {
			client.Close()
		}
		if c.says == nil && err != nil || c.says != nil && !errors.Is(err, fanout.ErrBadOption) {
			t.Errorf("%+v: error is %v", c.o, err)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%+v: the error is %q, without %q", c.o, err, part)
			}
		}
	}
}

// TestClientCloses: Close may be called more than once, also at the same time; the race
// detector looks on.
func TestClientCloses(t *testing.T) {
	ctx := testContext(t)
	c, _ := forUser(t, []string{">"}, []string{">"})
	w, err := c.Watch(ctx, ">", WatchOptions{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	var closing sync.WaitGroup
	for range 4 {
		closing.Go(c.Close)
	}
	closing.Wait()
	if _, err := w.Next(ctx); !errors.Is(err, ErrClientClosed) {
		t.Errorf("the watch has ended with %v", err)
	}
}
