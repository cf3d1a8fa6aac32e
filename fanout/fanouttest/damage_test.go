package fanouttest_test

import (
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/watchcast/watchcast/fanout"
	. "github.com/watchcast/watchcast/fanout/fanouttest"
)

// damage is a history that is about to be broken.
type damage struct {
	*history
	steps []step
}

func nameOf(promise error) string {
	for name, err := range promises {
		if err == promise {
			return name
		}
	}
	panic("no such promise")
}

func brokenList(err error) []string { return strings.Fields(broken(err)) }

// pick draws the index of a step that will do, -1 if there is none.
func (m *damage) pick(t *rapid.T, will func(i int, e *fanout.Event) bool) int {
	var some []int
	for i, s := range m.steps {
		if s.event != nil && will(i, s.event) {
			some = append(some, i)
		}
	}
	if len(some) == 0 {
		return -1
	}
	return rapid.SampledFrom(some).Draw(t, "step")
}

// change draws a change behind the initial state.
func (m *damage) change(t *rapid.T, will func(i int, e *fanout.Event) bool) int {
	return m.pick(t, func(i int, e *fanout.Event) bool {
		return !e.Control() && e.Revision > m.start && will(i, e)
	})
}

// marker draws a marker.
func (m *damage) marker(t *rapid.T, will func(i int, e *fanout.Event) bool) int {
	return m.pick(t, func(i int, e *fanout.Event) bool { return e.Op == fanout.Lagged && will(i, e) })
}

// read draws a read of a state that has k.a.
func (m *damage) read(t *rapid.T) int {
	var some []int
	for i, s := range m.steps {
		if _, ok := s.state["k.a"]; ok && s.event == nil {
			some = append(some, i)
		}
	}
	if len(some) == 0 {
		return -1
	}
	return rapid.SampledFrom(some).Draw(t, "read")
}

// edit changes a copy of what step i received.
func (m *damage) edit(i int, with func(e *fanout.Event)) {
	e := m.steps[i].event
	c := &fanout.Event{
		Key: e.Key, Value: e.Value, PrevValue: e.PrevValue, Revision: e.Revision, PrevRevision: e.PrevRevision,
		Time: e.Time, Batch: e.Batch, BatchSize: e.BatchSize, Op: e.Op,
	}
	with(c)
	m.steps[i].event = c
}

// editState changes a copy of what step i read.
func (m *damage) editState(i int, with func(s State)) {
	c := make(State)
	for key, entry := range m.steps[i].state {
		c[key] = entry
	}
	with(c)
	m.steps[i].state = c
}

func (m *damage) remove(i int)                  { m.steps = slices.Delete(m.steps, i, i+1) }
func (m *damage) insert(i int, e *fanout.Event) { m.steps = slices.Insert(m.steps, i, step{event: e}) }

// siblings returns how many changes of the same revision are recorded.
func (m *damage) siblings(e *fanout.Event) (n int) {
	for _, s := range m.steps {
		if s.event != nil && !s.event.Control() && s.event.Revision == e.Revision {
			n++
		}
	}
	return n
}

// next returns the index of the next change behind i, -1 if there is none.
func (m *damage) next(i int) int {
	for j := i + 1; j < len(m.steps); j++ {
		if e := m.steps[j].event; e != nil && !e.Control() {
			return j
		}
	}
	return -1
}

// before returns the index of the last change before i and above the start, -1 if
// there is none.
func (m *damage) before(i int) int {
	for i--; i >= 0; i-- {
		if e := m.steps[i].event; e != nil && !e.Control() && e.Revision > m.start {
			return i
		}
	}
	return -1
}

func anyOf(int, *fanout.Event) bool { return true }

// damages each break a promise and say which; nil if there is nothing to break it
// with.
var damages = map[string]func(t *rapid.T, m *damage) error{
	"a change is missing": func(t *rapid.T, m *damage) error {
		i := m.change(t, func(_ int, e *fanout.Event) bool {
			return m.siblings(e) == 1 && (!m.conflated || m.newest(e))
		})
		if i < 0 {
			return nil
		}
		m.remove(i)
		return ErrLost
	},
	"one of a batch is missing": func(t *rapid.T, m *damage) error {
		i := m.change(t, func(_ int, e *fanout.Event) bool {
			return m.siblings(e) > 1 && (!m.conflated || m.newest(e))
		})
		if i < 0 {
			return nil
		}
		m.remove(i)
		return ErrTornBatch
	},
	"the end is missing": func(t *rapid.T, m *damage) error {
		i := m.before(len(m.steps))
		if i < 0 || m.steps[i].event.Op != fanout.Put || slices.ContainsFunc(m.steps, func(s step) bool { return s.event == nil && s.at >= m.steps[i].event.Revision }) {
			return nil // a lost delete may be of a key that was never seen, and a read may have it
		}
		m.remove(i)
		return ErrDiverged
	},
	"doubled": func(t *rapid.T, m *damage) error {
		i := m.change(t, anyOf)
		if i < 0 {
			return nil
		}
		m.insert(i+1, m.steps[i].event)
		return ErrRepeat
	},
	"doubled later": func(t *rapid.T, m *damage) error {
		i := m.change(t, anyOf)
		if i < 0 {
			return nil
		}
		m.insert(rapid.IntRange(i+1, len(m.steps)).Draw(t, "place"), m.steps[i].event)
		return ErrRepeat
	},
	"swapped": func(t *rapid.T, m *damage) error {
		i := m.change(t, func(i int, _ *fanout.Event) bool { return m.next(i) > 0 })
		if i < 0 {
			return nil
		}
		j := m.next(i)
		m.steps[i], m.steps[j] = m.steps[j], m.steps[i]
		return ErrOrder
	},
	"below the start": func(t *rapid.T, m *damage) error {
		for revision := m.start; revision > 0; revision-- {
			for _, e := range m.events[revision] {
				if m.filter.Match(e.Key) {
					i := slices.IndexFunc(m.steps, func(s step) bool { return s.event != nil && s.event.Op == fanout.Progress })
					m.insert(i+1, e)
					return ErrOrder
				}
			}
		}
		return nil
	},
	"another value": func(t *rapid.T, m *damage) error {
		i := m.pick(t, func(_ int, e *fanout.Event) bool { return !e.Control() })
		if i < 0 {
			return nil
		}
		m.edit(i, func(e *fanout.Event) { e.Value = []byte("another") })
		return ErrForeign
	},
	"another key": func(t *rapid.T, m *damage) error {
		i := m.pick(t, func(_ int, e *fanout.Event) bool { return !e.Control() })
		if i < 0 {
			return nil
		}
		m.edit(i, func(e *fanout.Event) { e.Key = "k.other" })
		return ErrForeign
	},
	"another revision": func(t *rapid.T, m *damage) error {
		i := m.change(t, anyOf)
		if i < 0 {
			return nil
		}
		m.edit(i, func(e *fanout.Event) { e.Revision = m.author.last + 1 })
		return ErrForeign
	},
	"another previous revision": func(t *rapid.T, m *damage) error {
		i := m.change(t, anyOf)
		if i < 0 {
			return nil
		}
		m.edit(i, func(e *fanout.Event) { e.PrevRevision++ })
		return ErrForeign
	},
	"not of the filter": func(t *rapid.T, m *damage) error {
		for revision := m.start + 1; revision <= m.author.last; revision++ {
			for _, e := range m.events[revision] {
				if !m.filter.Match(e.Key) {
					m.insert(rapid.IntRange(0, len(m.steps)).Draw(t, "place"), e)
					return ErrForeign
				}
			}
		}
		return nil
	},
	"no marker": func(t *rapid.T, m *damage) error {
		i := m.marker(t, anyOf)
		if i < 0 || m.conflated {
			return nil
		}
		m.remove(i)
		return ErrLost
	},
	"marker too narrow in front": func(t *rapid.T, m *damage) error {
		i := m.marker(t, anyOf)
		if i < 0 || m.conflated {
			return nil
		}
		first := m.lost[m.steps[i].event][0]
		m.edit(i, func(e *fanout.Event) { e.PrevRevision = first + 1 })
		return ErrLost
	},
	"marker too narrow behind": func(t *rapid.T, m *damage) error {
		i := m.marker(t, anyOf)
		if i < 0 || m.conflated {
			return nil
		}
		last := m.lost[m.steps[i].event][1]
		m.edit(i, func(e *fanout.Event) { e.Revision = last - 1 })
		return ErrLost
	},
	"marker over what was received before": func(t *rapid.T, m *damage) error {
		i := m.marker(t, func(i int, _ *fanout.Event) bool { return m.before(i) >= 0 })
		if i < 0 {
			return nil
		}
		received := m.steps[m.before(i)].event.Revision
		m.edit(i, func(e *fanout.Event) { e.PrevRevision = received })
		return ErrMarker
	},
	"marker over what is received behind": func(t *rapid.T, m *damage) error {
		i := m.marker(t, func(i int, _ *fanout.Event) bool { return m.next(i) > 0 })
		if i < 0 {
			return nil
		}
		received := m.steps[m.next(i)].event.Revision
		m.edit(i, func(e *fanout.Event) { e.Revision = received })
		return ErrMarker
	},
	"marker below the start": func(t *rapid.T, m *damage) error {
		i := m.marker(t, anyOf)
		if i < 0 {
			return nil
		}
		m.edit(i, func(e *fanout.Event) { e.PrevRevision = m.start })
		return ErrMarker
	},
	"marker of nothing": func(t *rapid.T, m *damage) error {
		m.insert(len(m.steps), &fanout.Event{Op: fanout.Lagged, PrevRevision: m.author.last + 10, Revision: m.author.last + 11})
		return ErrMarker
	},
	"marker too late": func(t *rapid.T, m *damage) error {
		i := m.marker(t, func(i int, _ *fanout.Event) bool { return m.next(i) > 0 })
		if i < 0 {
			return nil
		}
		marker, j := m.steps[i].event, m.next(i)
		m.remove(i)
		m.insert(j, marker) // behind the change, which has moved up
		return ErrOrder
	},
	"progress too early": func(t *rapid.T, m *damage) error {
		i := m.change(t, func(_ int, e *fanout.Event) bool { return m.siblings(e) == 1 && (!m.conflated || m.newest(e)) })
		if i < 0 {
			return nil
		}
		m.insert(i, &fanout.Event{Op: fanout.Progress, Revision: m.steps[i].event.Revision})
		return ErrLost
	},
	"read lacks a key": func(t *rapid.T, m *damage) error {
		i := m.read(t)
		if i < 0 {
			return nil
		}
		m.editState(i, func(s State) { delete(s, "k.a") })
		return ErrDiverged
	},
	"read has another value": func(t *rapid.T, m *damage) error {
		i := m.read(t)
		if i < 0 {
			return nil
		}
		m.editState(i, func(s State) { s["k.a"] = Entry{Revision: s["k.a"].Revision, Value: []byte("another")} })
		return ErrDiverged
	},
	"read is stale": func(t *rapid.T, m *damage) error {
		i := m.marker(t, anyOf)
		if i < 0 {
			return nil
		}
		at := m.steps[i].event.Revision - 1
		m.steps[i+1] = step{at: at, state: m.log.State(at, m.filter)}
		return ErrStale
	},
}
