package fanout

import (
	"sync"
	"testing"
	"testing/synctest"
)

// TestPredictedFirst: a key whose last event somebody waited for comes before those of
// which nobody did, wherever in the read they are; the guess follows the last event; and
// whatever it is, each watcher gets all that is its own, in order.
func TestPredictedFirst(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		w, stalled := h.watchKey(t, "waiting"), h.watchKey(t, "stalled")
		p := &h.dispatcher.predictor
		guess := func(key string) bool { return p.waits(h.registry.keys.hash(key)) }

		var consumer sync.WaitGroup
		next := func() {
			consumer.Go(func() { w.Next(t.Context()) })
			synctest.Wait()
		}
		next()
		if guess("waiting") || guess("stalled") {
			t.Fatal("it guesses that somebody waits before there was an event")
		}
		h.dispatcher.deliver([]*Event{change("stalled", 1), change("waiting", 2)})
		consumer.Wait()
		if !guess("waiting") || guess("stalled") {
			t.Errorf("waiting is predicted to wait: %v, stalled: %v", guess("waiting"), guess("stalled"))
		}
		groups := h.dispatcher.keys.split([]*Event{change("stalled", 3), change("waiting", 4)}, h.dispatcher.likely)
		if len(groups) != 1 || groups[0].events[0].Key != "waiting" {
			t.Errorf("%d keys come first, want waiting alone", len(groups))
		}
		h.dispatcher.keys.forget()

		// Nobody waits now: the guess is wrong, once.
		h.dispatcher.deliver([]*Event{change("stalled", 3), change("waiting", 4)})
		if guess("waiting") {
			t.Error("nobody waited for the last event, and it guesses that somebody waits for the next")
		}
		h.dispatcher.deliver([]*Event{change("waiting", 5), change("stalled", 6), change("waiting", 7)})
		wantEvents(t, drain(w), 4, 5, 7)
		wantEvents(t, drain(stalled), 1, 3, 6)
	})
}

// TestPredictorCollision: keys that share a bit only share a guess.
func TestPredictorCollision(t *testing.T) {
	var p predictor
	const a, b = 1, 1 | predictorBits<<1
	p.learn(a, true)
	if !p.waits(b) {
		t.Fatal("these two do not share a bit; choose others")
	}
	p.learn(b, false)
	if p.waits(a) || p != (predictor{}) {
		t.Error("unlearning leaves something behind")
	}
}
