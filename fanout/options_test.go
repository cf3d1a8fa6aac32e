package fanout

import (
	"context"
	"testing"
	"time"
)

// TestBadOptionIsNamed: whoever gives a bad option, or two that conflict, reads
// which.
func TestBadOptionIsNamed(t *testing.T) {
	ring := func(o RingOptions) error {
		_, err := NewRing(o)
		return err
	}
	registry := func(o RegistryOptions) error {
		_, err := NewRegistry(o)
		return err
	}
	dispatcher := func(o DispatcherOptions) error {
		_, err := NewDispatcher(newTestRing(t, 4), newTestRegistry(t, RegistryOptions{}), o)
		return err
	}
	h := newHarness(t, 4, RegistryOptions{})
	watch := func(opts ...WatchOption) error {
		_, err := h.registry.WatchKey(t.Context(), "a", opts...)
		return err
	}
	wantBadOption(t, ring(RingOptions{Slots: -1}), "RingOptions.Slots", "-1")
	wantBadOption(t, ring(RingOptions{Slots: MaxSlots + 1}), "RingOptions.Slots")
	wantBadOption(t, ring(RingOptions{MaxBytes: -1}), "RingOptions.MaxBytes", "-1")
	wantBadOption(t, registry(RegistryOptions{MaxWatchers: -1}), "RegistryOptions.MaxWatchers", "-1")
	wantBadOption(t, registry(RegistryOptions{Buffer: -1}), "RegistryOptions.Buffer", "-1")
	wantBadOption(t, dispatcher(DispatcherOptions{Spin: MaxSpin + 1}), "DispatcherOptions.Spin")
	wantBadOption(t, dispatcher(DispatcherOptions{ProgressInterval: -time.Second}), "DispatcherOptions.ProgressInterval", "-1s")
	wantBadOption(t, watch(WithBuffer(0)), "WithBuffer", "is 0")
	wantBadOption(t, watch(WithBuffer(-1)), "WithBuffer", "-1")
	wantBadOption(t, watch(WithPolicy(Cancel+1)), "WithPolicy", "policy(4)")
	wantBadOption(t, watch(WithOps()), "WithOps")
	wantBadOption(t, watch(WithOps(Put, Lagged)), "WithOps", "lagged")
	wantBadOption(t, watch(nil), "WatchOption", "nil")
	wantBadOption(t, watch(WithPolicy(Conflate), WithBuffer(3)), "WithPolicy(Conflate)", "WithBuffer")
	wantBadOption(t, watch(FromRevision(1), WithInitial()), "FromRevision", "WithInitial")
	wantBadOption(t, watch(WithInitial()), "WithInitial", "RegistryOptions.Snapshot")
	var none context.Context
	_, err := h.watchKey(t, "a").Next(none)
	wantBadOption(t, err, "context is nil")
	_, err = h.ring.Cursor(0).Next(none, nil)
	wantBadOption(t, err, "context is nil")
	_, err = h.registry.WatchKey(none, "a")
	wantBadOption(t, err, "context is nil")
	wantBadOption(t, h.dispatcher.Run(none), "context is nil")
}
