package fanouttest

import (
	"fmt"
	"strings"

	"github.com/watchcast/watchcast/fanout"
)

const neighbours = 3 // records shown on either side of a breach

// breach says which promise record at broke, and how, and shows what was recorded
// around it; at may be the number of records, for what is missing at the end.
func (h *history) breach(promise error, at int, format string, args ...any) error {
	var b strings.Builder
	for i := max(0, at-neighbours); i < min(len(h.records), at+neighbours+1); i++ {
		sign := " "
		if i == at {
			sign = ">"
		}
		fmt.Fprintf(&b, "\n\t%s %s", sign, h.records[i])
	}
	if at >= len(h.records) {
		b.WriteString("\n\t> the end")
		if h.ended != nil {
			fmt.Fprintf(&b, ": %v", h.ended)
		}
	}
	return fmt.Errorf("%w: receiver %q of %s, which starts at %d: %s; recorded there:%s",
		promise, h.name, h.filter, h.start, fmt.Sprintf(format, args...), b.String())
}

func (r record) String() string {
	if r.event == nil {
		return fmt.Sprintf("read of %d keys at %d", len(r.state), r.revision)
	}
	if r.asked {
		return "answer: " + describe(r.event)
	}
	return describe(r.event)
}

// describe names an event: "put a at 7, 2 of 3", "lagged 4..6", "reset at 9".
func describe(e *fanout.Event) string {
	switch {
	case e.Op == fanout.Lagged && e.Key != "":
		return fmt.Sprintf("%v %q %d..%d", e.Op, e.Key, e.PrevRevision, e.Revision)
	case e.Op == fanout.Lagged:
		return fmt.Sprintf("%v %d..%d", e.Op, e.PrevRevision, e.Revision)
	case e.Control():
		return fmt.Sprintf("%v at %d", e.Op, e.Revision)
	case e.BatchSize > 1:
		return fmt.Sprintf("%v %q at %d, %d of %d", e.Op, e.Key, e.Revision, e.Batch+1, e.BatchSize)
	}
	return fmt.Sprintf("%v %q at %d", e.Op, e.Key, e.Revision)
}
