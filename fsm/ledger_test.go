package fsm

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"strings"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// ledger is somebody's state machine: it knows nothing of watches. An entry is
// words, "a=1 -b": set a, delete b; it does what they say or, if one of them makes
// no sense, nothing.
type ledger struct {
	mu     sync.Mutex
	values map[string]string
	look   func() // called when an entry or a snapshot is in, before it returns
}

// posting is what an entry did to one key: the result of an entry is []posting, an
// error, or nil for an empty entry.
type posting struct {
	key, value, before string
	deleted            bool
}

var errNoPosting = errors.New("no posting")

func newLedger() *ledger { return &ledger{values: make(map[string]string), look: func() {}} }

func (b *ledger) Apply(l *raft.Log) any {
	defer b.look()
	b.mu.Lock()
	defer b.mu.Unlock()
	var postings []posting
	for _, word := range strings.Fields(string(l.Data)) {
		p := posting{}
		switch key, value, put := strings.Cut(word, "="); {
		case put:
			p = posting{key: key, value: value, before: b.values[key]}
		case strings.HasPrefix(word, "-"):
			p = posting{key: word[1:], before: b.values[word[1:]], deleted: true}
		default:
			return errNoPosting
		}
		postings = append(postings, p)
	}
	for _, p := range postings {
		if p.deleted {
			delete(b.values, p.key)
		} else {
			b.values[p.key] = p.value
		}
	}
	if postings == nil {
		return nil
	}
	return postings
}

func (b *ledger) state() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.values)
}

func (b *ledger) Snapshot() (raft.FSMSnapshot, error) {
	return page(b.state()), nil
}

func (b *ledger) Restore(r io.ReadCloser) error {
	var values map[string]string
	if err := json.NewDecoder(r).Decode(&values); err != nil {
		return err
	}
	defer b.look()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.values = values
	return nil
}

// page is a snapshot of a ledger.
type page map[string]string

func (p page) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode(p); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (page) Release() {}

// batches makes a ledger a [raft.BatchingFSM] that remembers how it was called.
type batches struct {
	*ledger
	sizes []int // of the batches
}

func (b *batches) ApplyBatch(logs []*raft.Log) []any {
	b.sizes = append(b.sizes, len(logs))
	results := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			results[i] = b.Apply(l)
		}
	}
	return results
}

// configurations makes a ledger a [raft.ConfigurationStore].
type configurations struct {
	*ledger
	indexes []uint64
	latest  raft.Configuration
}

func (c *configurations) StoreConfiguration(index uint64, latest raft.Configuration) {
	c.indexes = append(c.indexes, index)
	c.latest = latest
}

// fullLedger is both.
type fullLedger struct {
	*batches
	*configurations
	*ledger // its methods come before theirs
}

func newFullLedger() *fullLedger {
	l := newLedger()
	return &fullLedger{&batches{ledger: l}, &configurations{ledger: l}, l}
}

// postings tells the changes of an entry of a ledger.
func postings(_ *raft.Log, result any) (changes []Change) {
	list, _ := result.([]posting)
	for _, p := range list {
		c := Change{Op: fanout.Put, Key: p.key, Value: []byte(p.value)}
		if p.deleted {
			c.Op, c.Value = fanout.Delete, nil
		}
		if p.before != "" {
			c.PrevValue = []byte(p.before)
		}
		changes = append(changes, c)
	}
	return changes
}
