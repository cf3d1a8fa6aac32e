// Package linear holds a test and nothing else: clients write and read a few keys
// of three real nodes, through both APIs, while links are cut, leaders are paused
// and nodes are killed; then a checker looks for an order of all that they saw
// which one copy of the state could have produced, in real time (linearizability).
//
// The nodes run in this process, for the Go API ([TestLinearizable]), and each in
// a process of its own, to be killed and paused ([TestLinearizableProcesses]).
// What they are put through comes from a seed that is logged. A longer run:
//
//	go test ./node/linear -run Linearizable -linear.time 10m -timeout 20m
//
// # What is checked
//
// Of each key: a read returns the last value and its revision; a write with a
// condition succeeds if and only if the condition holds; revisions grow. Of all
// keys together: what began after something of revision n had been answered has a
// revision above n, and no two changes share one.
//
// A write with an unknown outcome may have taken effect at any time since it was
// sent, may do so at any later time, or never; see model_test.go. Of an error that
// promises that nothing was changed, the promise is checked, because the write is
// then left out of the history.
package linear
