package fsm

import (
	"fmt"
	"testing"
)

// TestATombstoneOutlivesExactlyItsDeletes deletes a key, then n others, and
// looks at what is remembered when it comes back.
func TestATombstoneOutlivesExactlyItsDeletes(t *testing.T) {
	for _, keep := range []int{1, 2, 3, 7, keptTombstones} {
		for _, later := range []int{keep - 1, keep} {
			m := newMachine(t, keep)
			m.init()
			m.do(put("k", ""))
			deleted := m.do(del("k")).Revision
			for i := range later {
				key := fmt.Sprint(i)
				m.do(put(key, ""))
				m.do(del(key))
			}
			want := deleted
			if later >= keep {
				want = 0
			}
			if got := m.do(put("k", "")).PrevRevision; got != want {
				t.Errorf("of %d kept, after %d later deletes: previous revision %d, want %d", keep, later, got, want)
			}
			if n := len(m.store.tombstones.byKey); n > keep {
				t.Errorf("%d tombstones indexed, %d kept", n, keep)
			}
		}
	}
}

// TestPutsForgetNoTombstones: only deletes do, also those of a key that is
// created again and again.
func TestPutsForgetNoTombstones(t *testing.T) {
	m := newMachine(t, 2)
	m.init()
	m.do(put("k", ""))
	deleted := m.do(del("k")).Revision
	m.do(put("other", ""))
	m.do(del("other"))
	for range 10 {
		m.do(put("other", ""))
	}
	if got := m.do(put("k", "")).PrevRevision; got != deleted {
		t.Errorf("previous revision %d, want %d", got, deleted)
	}
	if n := len(m.store.tombstones.byKey); n != 0 {
		t.Errorf("%d tombstones of keys that exist", n)
	}
}
