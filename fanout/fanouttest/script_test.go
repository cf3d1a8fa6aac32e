package fanouttest_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
	. "github.com/watchcast/watchcast/fanout/fanouttest"
)

// author is a writer that fills in its events as a state machine does.
type author struct {
	log    *Log
	state  State
	latest map[string]uint64 // revision of the last change of a key, deletes included
	forget bool              // it keeps no tombstones
	events map[uint64][]*fanout.Event
	last   uint64
}

func newAuthor(options ...LogOption) *author {
	return &author{log: NewLog(options...), state: make(State), latest: make(map[string]uint64), events: make(map[uint64][]*fanout.Event)}
}

// change makes the next change of key; its value is its revision.
func (a *author) change(op fanout.Op, key string, revision uint64) *fanout.Event {
	e := &fanout.Event{Op: op, Key: key, Revision: revision, PrevRevision: a.latest[key], Time: time.Unix(int64(revision), 0)}
	was, exists := a.state[key]
	if exists {
		e.PrevValue = was.Value
	} else if a.forget {
		e.PrevRevision = 0
	}
	a.latest[key] = revision
	if op == fanout.Put {
		e.Value = fmt.Append(nil, revision)
		a.state[key] = Entry{Revision: revision, Value: e.Value}
	} else {
		delete(a.state, key)
	}
	return e
}

func (a *author) commit(events ...*fanout.Event) {
	a.log.Commit(events...)
	a.last = events[0].Revision
	a.events[a.last] = append(a.events[a.last], events...)
}

func (a *author) put(revision uint64, key string) { a.commit(a.change(fanout.Put, key, revision)) }
func (a *author) del(revision uint64, key string) { a.commit(a.change(fanout.Delete, key, revision)) }

// batch puts the keys, and deletes those with a minus before them.
func (a *author) batch(revision uint64, keys ...string) {
	var events []*fanout.Event
	for i, key := range keys {
		op := fanout.Put
		if k, ok := strings.CutPrefix(key, "-"); ok {
			op, key = fanout.Delete, k
		}
		e := a.change(op, key, revision)
		e.Batch, e.BatchSize = uint32(i), uint32(len(keys))
		events = append(events, e)
	}
	a.commit(events...)
}

// replace makes the state one of these keys, as they were but for those that are
// new.
func (a *author) replace(revision uint64, keys ...string) {
	state := make(State)
	for _, key := range keys {
		entry, ok := a.state[key]
		if !ok {
			entry = Entry{Revision: revision - 1, Value: []byte("from the snapshot")}
		}
		state[key] = entry
		a.latest[key] = entry.Revision
	}
	a.state = state
	a.log.Replace(revision, state)
	a.last = revision
	a.events[revision] = []*fanout.Event{{Op: fanout.Reset, Revision: revision}}
}

// script plays to a receiver what a line of tokens says:
//
//	7      what matches at revision 7        7:k.a   of that, the change of k.a
//	L3-5   lagged, of k.a: L3-5:k.a          !9      reset
//	P9     progress                          R9      reads the state of revision 9
//	A9:k.a the answer of how k.a stands at 9
//	S9     the initial state of revision 9   END     ends because it lagged
//	CLOSED ends because it was stopped
//
// A ~ and a word behind a token make a lie of it: see lie.
type script struct {
	*author
	filter fanout.Filter
}

func (s script) play(t testing.TB, r *Receiver, line string) {
	t.Helper()
	for token := range strings.FieldsSeq(line) {
		token, how, _ := strings.Cut(token, "~")
		switch {
		case token == "END":
			r.End(fmt.Errorf("%w: as the script says", fanout.ErrLagged))
		case token == "CLOSED":
			r.End(fanout.ErrClosed)
		case token[0] == 'L':
			token, key, _ := strings.Cut(token[1:], ":")
			from, to, _ := strings.Cut(token, "-")
			r.Receive(&fanout.Event{Op: fanout.Lagged, Key: key, PrevRevision: number(t, from), Revision: number(t, to)})
		case token[0] == 'A':
			revision, key, _ := strings.Cut(token[1:], ":")
			at := number(t, revision)
			e := &fanout.Event{Op: fanout.Delete, Key: key, Revision: at} // as a list shows it
			if entry, ok := s.log.State(at, s.filter)[key]; ok {
				e = &fanout.Event{Op: fanout.Put, Key: key, Revision: entry.Revision, Value: entry.Value}
			}
			r.Answer(lie(t, e, how))
		case token[0] == '!':
			r.Receive(&fanout.Event{Op: fanout.Reset, Revision: number(t, token[1:])})
		case token[0] == 'P':
			r.Receive(&fanout.Event{Op: fanout.Progress, Revision: number(t, token[1:])})
		case token[0] == 'R':
			at := number(t, token[1:])
			state := s.log.State(at, s.filter)
			lieOfState(t, state, how)
			r.Read(at, state)
		case token[0] == 'S':
			state := s.log.State(number(t, token[1:]), s.filter)
			lieOfState(t, state, how)
			for key, entry := range state {
				r.Receive(&fanout.Event{Op: fanout.Put, Key: key, Value: entry.Value, Revision: entry.Revision})
			}
		default:
			revision, key, one := strings.Cut(token, ":")
			for _, e := range s.events[number(t, revision)] {
				if one && e.Key == key || !one && s.filter.Match(e.Key) {
					r.Receive(lie(t, e, how))
				}
			}
		}
	}
}

func number(t testing.TB, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// lie returns e with one thing changed.
func lie(t testing.TB, e *fanout.Event, how string) *fanout.Event {
	f := &fanout.Event{
		Key: e.Key, Value: e.Value, PrevValue: e.PrevValue, Revision: e.Revision, PrevRevision: e.PrevRevision,
		Time: e.Time, Batch: e.Batch, BatchSize: e.BatchSize, Op: e.Op,
	}
	switch how {
	case "":
	case "value":
		f.Value = []byte("another")
	case "prevvalue":
		f.PrevValue = []byte("another")
	case "noprevvalue":
		f.PrevValue = nil
	case "key":
		f.Key = "k.other"
	case "revision":
		f.Revision = 1 << 40
	case "prev":
		f.PrevRevision++
	case "op":
		f.Op = fanout.Expire
	case "older":
		f.Revision--
	case "time":
		f.Time = f.Time.Add(1)
	case "utc":
		f.Time = f.Time.UTC()
	case "batch":
		f.Batch, f.BatchSize = f.Batch+1, f.BatchSize+2
	case "one":
		f.BatchSize = 1
	default:
		t.Fatalf("no such lie: %q", how)
	}
	return f
}

func lieOfState(t testing.TB, state State, how string) {
	switch how {
	case "":
	case "less":
		delete(state, "k.a")
	case "more":
		state["k.more"] = Entry{Revision: 1}
	case "value":
		state["k.a"] = Entry{Revision: state["k.a"].Revision, Value: []byte("another")}
	case "older":
		state["k.a"] = Entry{Revision: state["k.a"].Revision - 1, Value: state["k.a"].Value}
	case "foreign":
		state["z"] = Entry{Revision: 1} // of another filter
	default:
		t.Fatalf("no such lie: %q", how)
	}
}
