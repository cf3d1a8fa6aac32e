package nats

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"
)

// complaintPeriod is how often at most a line is logged about what cannot be received: who
// sends decides how often it happens.
const complaintPeriod = 10 * time.Second

// complaints counts those between two lines.
type complaints struct {
	mu   sync.Mutex
	last time.Time
	held int // since then
}

// admit reports whether a line is due, and how many there were since the last.
func (c *complaints) admit(now time.Time) (held int, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.last.IsZero() && now.Sub(c.last) < complaintPeriod {
		c.held++
		return 0, false
	}
	held, c.held, c.last = c.held, 0, now
	return held, true
}

// complain logs that something cannot be received.
func (r *responder) complain(text string, e *micro.NATSError) {
	if held, due := r.complaints.admit(time.Now()); due {
		r.logger.Warn(text, "subject", e.Subject, "error", e.Description, "repeated", held)
	}
}
