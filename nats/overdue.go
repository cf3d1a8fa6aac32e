package nats

import (
	"fmt"
	"time"
)

// noAnswer is why a watch does not go on that has asked.
func (w *Watch) noAnswer() error {
	return fmt.Errorf("no answer to requests under %q for %v", w.client.o.Subjects.KV, silence)
}

// inTime asks for something that is missing, and tells the consumer, by late, if the answer does
// not begin, or not go on. To wait for it is the client's business, which asks again and again for
// as long as a request may take; the consumer is told before, as he is when no beacon is heard.
func inTime[T any](w *Watch, late func() error, ask func() (T, error)) (T, error) {
	over := false // with the lock of w: the timer may run already when it is stopped
	timer := time.AfterFunc(silence, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !over {
			w.unable(late())
		}
	})
	answer, err := ask()
	timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	over = true
	return answer, err
}
