package linear

import (
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// told builds a history by hand: requests with their times.
type told struct {
	call, back int64
	in         input
	out        output
}

func of(ops []told) *history {
	h := newHistory()
	for i, o := range ops {
		h.ops[o.in.key] = append(h.ops[o.in.key], porcupine.Operation{ClientId: i, Input: o.in, Call: o.call, Output: o.out, Return: o.back})
	}
	return h
}

func putOf(key, value string) input { return input{operation: put, key: key, value: value} }
func getOf(key string) input        { return input{operation: get, key: key} }
func removeOf(key string) input     { return input{operation: remove, key: key} }

func (in input) at(revision uint64) input {
	in.condition, in.ifRevision = true, revision
	return in
}

func ok(revision uint64) output { return output{result: done, revision: revision} }
func read(value string, revision uint64) output {
	return output{result: done, value: value, revision: revision}
}

var (
	lost   = output{result: unknown}
	gone   = output{result: absent}
	refuse = output{result: conflict}
)

const search = "the search must find it"

// TestCheckerFindsWrongHistories: each of these has one thing wrong with it, and
// is refused. A checker that lets one pass proves nothing.
func TestCheckerFindsWrongHistories(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		want string
		ops  []told
	}{
		"stale read": {search, []told{
			{1, 2, putOf("k", "a"), ok(5)},
			{3, 4, putOf("k", "b"), ok(6)},
			{5, 6, getOf("k"), read("a", 5)}}},
		"stale read beside a newer one": {search, []told{
			{1, 2, putOf("k", "a"), ok(5)},
			{3, 20, putOf("k", "b"), ok(6)},
			{4, 5, getOf("k"), read("b", 6)},
			{6, 7, getOf("k"), read("a", 5)}}},
		"lost write": {search, []told{
			{1, 2, putOf("k", "a"), ok(5)},
			{3, 4, getOf("k"), gone}}},
		"lost update": {search, []told{
			{1, 2, putOf("k", "a"), ok(5)},
			{3, 6, putOf("k", "b").at(5), ok(6)},
			{4, 7, putOf("k", "c").at(5), ok(7)}}},
		"two put-if-absent": {search, []told{
			{1, 9, putOf("k", "a").at(0), ok(5)},
			{1, 9, putOf("k", "b").at(0), ok(6)}}},
		"a refused condition that held": {search, []told{
			{1, 2, putOf("k", "a"), ok(5)},
			{3, 4, putOf("k", "b").at(5), refuse}}},
		"a deleted value comes back": {search, []told{
			{1, 2, putOf("k", "a"), ok(5)},
			{3, 4, removeOf("k"), ok(6)},
			{5, 6, getOf("k"), read("a", 5)}}},
		"a delete of nothing": {search, []told{
			{1, 2, removeOf("k"), ok(6)}}},
		"a value nobody put": {search, []told{
			{1, 2, getOf("k"), read("x", 5)}}},
		"the wrong revision": {search, []told{
			{1, 2, putOf("k", "a"), ok(5)},
			{3, 4, getOf("k"), read("a", 6)}}},
		"revisions of a key go down": {search, []told{
			{1, 2, putOf("k", "a"), ok(7)},
			{3, 4, putOf("k", "b"), ok(6)}}},
		"an unknown put is seen, and then not": {search, []told{
			{1, 2, putOf("k", "a"), ok(5)},
			{3, never, putOf("k", "b"), lost},
			{4, 5, getOf("k"), read("b", 6)},
			{6, 7, getOf("k"), read("a", 5)}}},
		"an unknown put takes effect twice": {search, []told{
			{1, never, putOf("k", "b"), lost},
			{2, 3, getOf("k"), read("b", 6)},
			{4, 5, removeOf("k"), ok(7)},
			{6, 7, getOf("k"), read("b", 8)}}},
		"an unknown put takes effect before it was sent": {search, []told{
			{1, 2, getOf("k"), read("b", 6)},
			{3, never, putOf("k", "b"), lost}}},
		"an unknown put whose condition never held": {search, []told{
			{1, 2, putOf("k", "a"), ok(5)},
			{3, never, putOf("k", "b").at(4), lost},
			{4, 5, getOf("k"), read("b", 6)}}},
		"an unknown put of two revisions": {search, []told{
			{1, never, putOf("k", "b"), lost},
			{2, 3, getOf("k"), read("b", 6)},
			{4, 5, getOf("k"), read("b", 7)}}},
		"two changes of one revision": {"one revision", []told{
			{1, 2, putOf("k", "a"), ok(5)},
			{1, 2, putOf("l", "b"), ok(5)}}},
		"revisions against time, across keys": {"began after", []told{
			{1, 2, putOf("k", "a"), ok(6)},
			{3, 4, putOf("l", "b"), ok(5)}}},
	} {
		h := of(c.ops)
		err := h.check(t.TempDir())
		if err == nil {
			t.Errorf("%s: the checker finds nothing wrong", name)
			continue
		}
		if c.want != search && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the checker says %v; want %q", name, err, c.want)
		}
		// Some are found by their revisions alone, before the search.
		for _, ops := range h.ops {
			if c.want == search && porcupine.CheckOperations(model, ops) {
				t.Errorf("%s: the search finds nothing wrong", name)
			}
		}
	}
}

// TestCheckerAllowsWhatMayBe: an unknown outcome explains what it can explain, at
// once, later, or by never coming about.
func TestCheckerAllowsWhatMayBe(t *testing.T) {
	t.Parallel()
	for name, ops := range map[string][]told{
		"never": {
			{1, 2, putOf("k", "a"), ok(5)},
			{3, never, putOf("k", "b"), lost},
			{4, 5, getOf("k"), read("a", 5)}},
		"at once": {
			{1, 2, putOf("k", "a"), ok(5)},
			{3, never, putOf("k", "b"), lost},
			{4, 5, getOf("k"), read("b", 6)}},
		"late, over a newer value": {
			{1, never, putOf("k", "b"), lost},
			{2, 3, putOf("k", "a"), ok(5)},
			{4, 5, getOf("k"), read("a", 5)},
			{6, 7, getOf("k"), read("b", 6)}},
		"unseen, between two writes": {
			{1, 2, putOf("k", "a"), ok(5)},
			{3, never, putOf("k", "b"), lost},
			{4, 5, putOf("k", "c").at(5), refuse}},
		"its revision is used before it was read": {
			{1, never, putOf("k", "b"), lost},
			{2, 3, putOf("k", "c").at(6), ok(7)},
			{4, 5, getOf("k"), read("c", 7)}},
		"an unknown delete": {
			{1, 2, putOf("k", "a"), ok(5)},
			{3, never, removeOf("k"), lost},
			{4, 5, getOf("k"), gone},
			{6, 7, putOf("k", "c").at(0), ok(7)}},
		"two unknowns, one of which excludes the other": {
			{1, 2, putOf("k", "a"), ok(5)},
			{3, never, putOf("k", "b").at(5), lost},
			{3, never, putOf("k", "c").at(5), lost},
			{4, 5, getOf("k"), read("c", 6)},
			{6, 7, getOf("k"), read("c", 6)}},
		"at the same time": {
			{1, 10, putOf("k", "a"), ok(6)},
			{1, 10, putOf("l", "b"), ok(5)},
			{2, 3, getOf("k"), gone},
			{4, 5, getOf("k"), read("a", 6)}},
	} {
		if err := of(ops).check(t.TempDir()); err != nil {
			t.Errorf("%s: the checker says %v", name, err)
		}
	}
}
