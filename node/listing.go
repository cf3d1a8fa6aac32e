package node

import (
	"time"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

// lister is what listings over NATS read.
type lister struct {
	machine *fsm.FSM
	now     func() time.Duration // the time of the cluster; nil on a node that does not lead
}

func (l lister) Revision() uint64 { return l.machine.Revision() }

func (l lister) Stands() (uint64, error) { return l.machine.Revision(), nil }

func (l lister) List(filter fanout.Filter) (nats.Listing, error) {
	all := l.machine.List(filter)
	return nats.Listing{Revision: all.Revision, Next: func() (nats.Change, bool) {
		for e := range all.Entries() {
			return l.change(fsm.KeyChange{Op: fanout.Put, Entry: e}), true
		}
		return nats.Change{}, false
	}}, nil
}

func (l lister) Since(filter fanout.Filter, revision uint64) (nats.Listing, error) {
	changes, err := l.machine.Since(filter, revision)
	if err != nil {
		return nats.Listing{}, serviceError(err)
	}
	return nats.Listing{Revision: changes.Revision, Next: func() (nats.Change, bool) {
		for c := range changes.All() {
			return l.change(c), true
		}
		return nats.Change{}, false
	}}, nil
}

func (l lister) change(c fsm.KeyChange) nats.Change {
	change := nats.Change{Op: c.Op, Key: c.Key, Value: c.Value, Revision: c.Revision, Time: c.Time}
	if c.Expires != 0 && l.now != nil {
		change.TTL = max(c.Expires-l.now(), 1)
	}
	return change
}
