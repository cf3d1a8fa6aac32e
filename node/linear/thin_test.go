package linear

import (
	"github.com/anishathalye/porcupine"
)

// thin returns a history of one key that is linearizable if and only if ops is, and
// takes less time to search. Two things make a search long.
//
// Writes of unknown outcome, which may go anywhere. No two puts have one value, so
// one whose value was read has taken effect, before the first of those reads
// returned, and its revision is what they read.
//
// Reads, of which there are many at a time. A value with its revision is there for
// one stretch of time, for a revision is not used twice. Each of those who read it
// says that the stretch began before it returned and ended after it was called. So
// the one that returned first and the one that was called last say all of it.
func thin(ops []porcupine.Operation) []porcupine.Operation {
	type change struct {
		value    string
		revision uint64
	}
	first, last := make(map[change]porcupine.Operation), make(map[change]porcupine.Operation)
	read := make(map[string]porcupine.Operation) // by value, the one that returned first
	for _, op := range ops {
		out := op.Output.(output)
		if op.Input.(input).operation != get || out.result != done {
			continue
		}
		c := change{out.value, out.revision}
		if f, ok := first[c]; !ok || op.Return < f.Return {
			first[c] = op
		}
		if l, ok := last[c]; !ok || op.Call > l.Call {
			last[c] = op
		}
		if r, ok := read[out.value]; !ok || op.Return < r.Return {
			read[out.value] = op
		}
	}
	var thinned []porcupine.Operation
	for _, op := range ops {
		in, out := op.Input.(input), op.Output.(output)
		switch {
		case in.operation == get && out.result == done:
			c := change{out.value, out.revision}
			if op != first[c] && op != last[c] {
				continue
			}
		case in.operation == put && out.result == unknown:
			if r, ok := read[in.value]; ok && r.Return >= op.Call { // or it is wrong, as the search will find
				op.Output, op.Return = putOfRead(r), r.Return
			}
		}
		thinned = append(thinned, op)
	}
	return thinned
}

// putOfRead is the answer that a put would have had whose value was read.
func putOfRead(read porcupine.Operation) output {
	return output{result: done, revision: read.Output.(output).revision}
}
