package nats

import (
	"testing"
	"time"
)

func TestComplaints(t *testing.T) {
	var c complaints
	now := time.Now()
	for i, step := range []struct {
		after time.Duration
		held  int
		due   bool
	}{
		{0, 0, true},
		{time.Millisecond, 0, false},
		{complaintPeriod - time.Millisecond, 0, false},
		{complaintPeriod, 2, true},
		{complaintPeriod + 1, 0, false},
		{2 * complaintPeriod, 1, true},
		{4 * complaintPeriod, 0, true},
	} {
		if held, due := c.admit(now.Add(step.after)); held != step.held || due != step.due {
			t.Errorf("step %d: %d held back, due %v; want %d, %v", i, held, due, step.held, step.due)
		}
	}
}
