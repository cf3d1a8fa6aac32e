package linear

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// operation is what a client asks for.
type operation int

const (
	put operation = iota
	remove
	get
)

// input is a request about one key.
type input struct {
	operation  operation
	key        string
	value      string // of a put; no two puts have the same
	condition  bool   // whether ifRevision counts
	ifRevision uint64 // 0: the key must not exist
}

// result is what a client learned.
type result int

const (
	done     result = iota // revision is of the change, or of what was read
	absent                 // there is no such key
	conflict               // the condition did not hold
	unknown                // a write that may have taken effect, or may yet
)

// output is the answer.
type output struct {
	result   result
	value    string // of a get
	revision uint64
	why      string // of what was turned away, which is no part of a history
}

// state is one key. Revisions are known as far as an answer told them: the change
// of a write whose outcome is unknown has one above all before it, which the first
// read of its value tells.
type state struct {
	alive    bool
	value    string
	revision uint64 // of value; 0 while it is not known
	above    uint64 // every later change has a revision above this
}

// truth is what is known of a condition.
type truth int

const (
	no truth = iota
	maybe
	yes
)

// holds tells whether the condition of a request holds.
func (s state) holds(in input) truth {
	switch {
	case !in.condition:
		return yes
	case in.ifRevision == 0 && !s.alive:
		return yes
	case in.ifRevision == 0 || !s.alive:
		return no
	case s.revision == in.ifRevision:
		return yes
	case s.revision == 0 && in.ifRevision > s.above:
		return maybe
	}
	return no
}

// step tells whether a key in state s can have answered so, and its state then.
//
// A request whose outcome is unknown has an answer that never comes back, so the
// checker may place it anywhere behind its beginning, the very end included, where
// nobody looks: that is how it may never have taken effect. So wherever it is
// placed, it takes effect if its condition can hold.
func (s state) step(in input, out output) (bool, state) {
	holds := s.holds(in)
	changed := func(alive bool, value string) (bool, state) {
		return holds != no && out.revision > max(s.above, in.ifRevision), state{alive, value, out.revision, out.revision}
	}
	switch in.operation {
	case get:
		switch {
		case out.result == absent:
			return !s.alive, s
		case !s.alive || out.value != s.value:
			return false, s
		case s.revision != 0:
			return out.revision == s.revision, s
		}
		s.revision = out.revision
		ok := s.revision > s.above
		s.above = s.revision
		return ok, s
	case put:
		switch out.result {
		case done:
			return changed(true, in.value)
		case conflict:
			return holds != yes, s
		case unknown:
			if holds != no {
				s = state{alive: true, value: in.value, above: max(s.above, in.ifRevision)}
			}
			return true, s
		}
	case remove:
		switch out.result {
		case done:
			ok, next := changed(false, "")
			next.revision = 0
			return ok && s.alive, next
		case absent:
			return !s.alive, s
		case conflict:
			return s.alive && holds != yes, s
		case unknown:
			if s.alive && holds != no {
				s = state{above: max(s.above, in.ifRevision)}
			}
			return true, s
		}
	}
	return false, s
}

var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, in, out any) (bool, any) { return s.(state).step(in.(input), out.(output)) },
	DescribeOperation: func(in, out any) string {
		return in.(input).String() + " → " + out.(output).String()
	},
	DescribeState: func(s any) string { return fmt.Sprintf("%+v", s) },
}

func (in input) String() string {
	text := []string{"put ", "delete ", "get "}[in.operation] + in.key
	if in.operation == put {
		text += "=" + in.value
	}
	if in.condition {
		text += fmt.Sprintf(" if at %d", in.ifRevision)
	}
	return text
}

func (out output) String() string {
	switch out.result {
	case done:
		return fmt.Sprintf("%s@%d", out.value, out.revision)
	case absent:
		return "absent"
	case conflict:
		return "conflict"
	}
	return "unknown"
}
