package nats

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/internal/natstest"
)

// patience bounds every wait of a test. It is never reached unless something is
// wrong, so it may be long.
const patience = 60 * time.Second

var errPatience = errors.New("the test has waited long enough")

// testContext bounds the waits of a test.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errPatience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until what is asked for holds.
func eventually(t testing.TB, ctx context.Context, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, context.Cause(ctx))
		}
	}
}

// receive takes a value that must come.
func receive[T any](t testing.TB, ctx context.Context, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-ctx.Done():
		t.Fatalf("%s: %v", what, context.Cause(ctx))
		panic("unreachable")
	}
}

// startBroker runs a real nats-server on a free loopback port, until the test
// ends or stop is called.
func startBroker(t testing.TB, change ...func(*server.Options)) (s *server.Server, stop func()) {
	t.Helper()
	o := &server.Options{
		Host:          "127.0.0.1",
		Port:          server.RANDOM_PORT,
		NoLog:         true,
		NoSigs:        true,
		MaxPending:    256 << 20, // the test's own subscribers may be slow
		WriteDeadline: patience,
	}
	for _, f := range change {
		f(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(s.Start)
	stop = sync.OnceFunc(func() {
		s.Shutdown()
		s.WaitForShutdown()
		wg.Wait()
	})
	t.Cleanup(stop)
	if !s.ReadyForConnections(patience) {
		t.Fatalf("the broker was not ready within %v", patience)
	}
	return s, stop
}

// dial connects to url, or within the process if the options say so, until the
// test ends.
func dial(t testing.TB, url string, options ...nats.Option) *nats.Conn {
	t.Helper()
	options = append([]nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectWait(time.Millisecond),
		nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // the default one prints
	}, options...)
	return natstest.Connect(t, url, options...)
}

// flush waits until the broker has processed what was sent on conn.
func flush(t testing.TB, ctx context.Context, conn *nats.Conn) {
	t.Helper()
	if err := conn.FlushWithContext(ctx); err != nil {
		t.Fatalf("flush: %v", err)
	}
}

func checked(t testing.TB) Subjects {
	t.Helper()
	var s Subjects
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	return s
}

// goroutineIn reports whether a goroutine runs one of the functions, which are
// given by a part of their names.
func goroutineIn(functions ...string) bool {
	buf := make([]byte, 1<<20)
	stacks := string(buf[:runtime.Stack(buf, true)])
	return slices.ContainsFunc(functions, func(f string) bool { return strings.Contains(stacks, f) })
}

// wantNoGoroutineIn waits until no goroutine runs one of the functions.
func wantNoGoroutineIn(t testing.TB, ctx context.Context, functions ...string) {
	t.Helper()
	eventually(t, ctx, fmt.Sprintf("no goroutine is left in %v", functions), func() bool { return !goroutineIn(functions...) })
}
