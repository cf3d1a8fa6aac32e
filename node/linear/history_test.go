package linear

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// never is when a request returns whose outcome is unknown.
const never = math.MaxInt64

// checkTime bounds the search of one key. What is not found within it is no proof
// of anything, and fails the test.
const checkTime = 20 * time.Second

// history collects what clients asked and learned, on the clock of this process.
type history struct {
	begun time.Time

	mu  sync.Mutex
	ops map[string][]porcupine.Operation // by key
	// away are the writes that were turned away, for the log: one of them that took
	// effect after all is what makes a history wrong.
	away map[string][]string // by key
}

func newHistory() *history {
	return &history{begun: time.Now(), ops: make(map[string][]porcupine.Operation), away: make(map[string][]string)}
}

// now is for the beginning of a request.
func (h *history) now() int64 { return int64(time.Since(h.begun)) }

// add records a request that client began at call and that has just returned.
func (h *history) add(client int, call int64, in input, out output) {
	back := h.now()
	if out.result == unknown {
		back = never
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops[in.key] = append(h.ops[in.key], porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: back})
}

// turnedAway notes a write that, as its answer promises, changes nothing.
func (h *history) turnedAway(call int64, in input, out output) {
	line := fmt.Sprintf("%v: %s → turned away: %s", time.Duration(call), in, out.why)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.away[in.key] = append(h.away[in.key], line)
}

func (h *history) keys() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys := make([]string, 0, len(h.ops))
	for key := range h.ops {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// summary counts outcomes.
func (h *history) summary() (ops, unknowns int, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var results [unknown + 1]int
	for _, of := range h.ops {
		for _, op := range of {
			results[op.Output.(output).result]++
			ops++
		}
	}
	return ops, results[unknown], fmt.Sprintf("%d operations on %d keys: %d done, %d absent, %d conflicts, %d of unknown outcome",
		ops, len(h.ops), results[done], results[absent], results[conflict], results[unknown])
}

// check returns what is wrong with the history, the first of it. Of a key whose
// operations have no order, it draws a picture in dir.
func (h *history) check(dir string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []porcupine.Operation
	for _, ops := range h.ops {
		all = append(all, ops...)
		if err := growing(ops, func(input) bool { return true }); err != nil {
			return err // what the search would find, too, but sooner and in words
		}
	}
	if err := growing(all, func(in input) bool { return in.operation != get }); err != nil {
		return err
	}
	for key, ops := range h.ops {
		verdict, info := porcupine.CheckOperationsVerbose(model, thin(ops), checkTime)
		if verdict == porcupine.Ok {
			continue
		}
		path := filepath.Join(dir, key+".html")
		if err := porcupine.VisualizePath(model, info, path); err != nil {
			path = err.Error()
		}
		if verdict == porcupine.Unknown {
			return fmt.Errorf("the operations on %s were not checked within %v; see %s:\n%s", key, checkTime, path, list(ops))
		}
		return fmt.Errorf("no order explains the operations on %s; see %s:\n%s%s", key, path, list(ops), strings.Join(h.away[key], "\n"))
	}
	return nil
}

// growing holds that no two changes share a revision, and that no operation which
// counts has one below that of an operation that had returned before it began; a
// change, not the same either.
func growing(ops []porcupine.Operation, counts func(input) bool) error {
	var told []porcupine.Operation // those whose answer has a revision
	changes := make(map[uint64]porcupine.Operation)
	for _, op := range ops {
		out := op.Output.(output)
		if out.result != done {
			continue
		}
		told = append(told, op)
		if op.Input.(input).operation == get {
			continue
		}
		if other, ok := changes[out.revision]; ok {
			return fmt.Errorf("two changes have one revision: %s and %s", describe(op), describe(other))
		}
		changes[out.revision] = op
	}
	back := slices.Clone(told)
	slices.SortFunc(back, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	slices.SortFunc(told, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var newest porcupine.Operation // of those that returned before op began
	var at uint64
	for _, op := range told {
		for len(back) > 0 && back[0].Return < op.Call {
			if revision := back[0].Output.(output).revision; revision > at {
				newest, at = back[0], revision
			}
			back = back[1:]
		}
		in, revision := op.Input.(input), op.Output.(output).revision
		if counts(in) && (revision < at || revision == at && in.operation != get) {
			return fmt.Errorf("%s began after %s had returned", describe(op), describe(newest))
		}
	}
	return nil
}

// list is the operations as they began, for a log.
func list(ops []porcupine.Operation) string {
	ops = slices.Clone(ops)
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var lines strings.Builder
	for _, op := range ops {
		back := "never"
		if op.Return != never {
			back = time.Duration(op.Return).String()
		}
		fmt.Fprintf(&lines, "%v to %s, client %d: %s\n", time.Duration(op.Call), back, op.ClientId, describe(op))
	}
	return lines.String()
}

func describe(op porcupine.Operation) string { return model.DescribeOperation(op.Input, op.Output) }

// mustHold fails the test if the history is wrong.
func (h *history) mustHold(t *testing.T) {
	t.Helper()
	_, _, text := h.summary()
	t.Log(text)
	begun := time.Now()
	if err := h.check(t.ArtifactDir()); err != nil {
		t.Error(err)
	}
	t.Logf("checked in %v", time.Since(begun).Round(time.Millisecond))
}
