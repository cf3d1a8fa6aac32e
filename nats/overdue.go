package nats

import (
	"fmt"
	"time"
)

// inTime asks for something that is missing, and tells the consumer if the answer does not
// begin, or not go on. To wait for it is the client's business, which asks again and again for
// as long as a request may take; the consumer is told before, as he is when no beacon is heard.
func inTime[T any](w *Watch, ask func() (T, error)) (T, error) {
	over := false // with the lock of w: the timer may run already when it is stopped
	timer := time.AfterFunc(silence, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !over {
			w.unable(fmt.Errorf("no answer to requests under %q for %v", w.client.o.Subjects.KV, silence))
		}
	})
	answer, err := ask()
	timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	over = true
	return answer, err
}
