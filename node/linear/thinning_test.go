package linear

import (
	"fmt"
	"testing"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"
)

// TestThinningChangesNoVerdict: of any history, right or wrong, the search says the
// same before it is thinned and after.
func TestThinningChangesNoVerdict(t *testing.T) {
	t.Parallel()
	right, fewer := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var ops []porcupine.Operation
		puts := rapid.IntRange(1, 4).Draw(t, "puts")
		draw := func(what string, least, most int) uint64 {
			return uint64(rapid.IntRange(least, most).Draw(t, what))
		}
		add := func(in input, out output) {
			call := rapid.Int64Range(0, 20).Draw(t, "call")
			op := porcupine.Operation{ClientId: len(ops), Input: in, Call: call, Output: out, Return: call + rapid.Int64Range(1, 20).Draw(t, "takes")}
			if out.result == unknown {
				op.Return = never
			}
			ops = append(ops, op)
		}
		for i := range puts {
			in := putOf("k", fmt.Sprint("v", i))
			if rapid.Bool().Draw(t, "conditional") {
				in = in.at(draw("condition", 0, 3))
			}
			add(in, rapid.SampledFrom([]output{ok(uint64(i + 1)), lost, lost, refuse}).Draw(t, "answer"))
			if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
				add(removeOf("k"), rapid.SampledFrom([]output{ok(uint64(i + 1)), lost, gone}).Draw(t, "answer"))
			}
		}
		for range rapid.IntRange(0, 5).Draw(t, "gets") {
			i := rapid.IntRange(0, puts).Draw(t, "value")
			if i == puts {
				add(getOf("k"), gone)
				continue
			}
			add(getOf("k"), read(fmt.Sprint("v", i), uint64(i+1)))
		}
		thinned := thin(ops)
		want := porcupine.CheckOperations(model, ops)
		if got := porcupine.CheckOperations(model, thinned); got != want {
			t.Fatalf("%v before, %v after:\n%s\n%s", want, got, list(ops), list(thinned))
		}
		if want {
			right++
		}
		if len(thinned) < len(ops) {
			fewer++
		}
	})
	if right == 0 || fewer == 0 {
		t.Errorf("%d histories were right, %d got shorter; this test compares nothing", right, fewer)
	}
}
