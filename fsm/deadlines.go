package fsm

import (
	"cmp"
	"time"

	"github.com/tidwall/btree"
)

// deadline is when a key expires, in cluster time.
type deadline struct {
	at  time.Duration
	key string
}

func (d deadline) before(other deadline) bool {
	return cmp.Or(cmp.Compare(d.at, other.at), cmp.Compare(d.key, other.key)) < 0
}

// deadlines are the keys with a time to live, in the order in which they expire: the
// first is found at once, and any other by what the store has of its key. Only keys
// that exist are in it, each at its present deadline, so that there is no old timer
// which could go off.
type deadlines struct {
	tree *btree.BTreeG[deadline]
}

func newDeadlines() deadlines {
	return deadlines{btree.NewBTreeGOptions(deadline.before, btree.Options{NoLocks: true})}
}

// move takes an entry from its old deadline to its new one; 0 is none.
func (d deadlines) move(key string, from, to time.Duration) {
	if from != 0 {
		d.tree.Delete(deadline{from, key})
	}
	if to != 0 {
		d.tree.Set(deadline{to, key})
	}
}

// first returns the next deadline, 0 if there is none.
func (d deadlines) first() time.Duration {
	next, _ := d.tree.Min()
	return next.at
}

// due returns the next keys, at most max, whose deadlines are not above now.
func (d deadlines) due(now time.Duration, max int) (keys []string) {
	d.tree.Scan(func(next deadline) bool {
		if next.at > now || len(keys) == max {
			return false
		}
		keys = append(keys, next.key)
		return true
	})
	return keys
}
