package fanout

import (
	"testing"

	"pgregory.net/rapid"
)

// TestGapLogModel: whoever asks learns the range from the first gap it has not
// heard of to the newest one, whatever others have heard and however many gaps
// there were. A watcher is told when something for it comes, or by the walk;
// only the end of a walk lets gaps be forgotten.
func TestGapLogModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type listener struct {
			epoch, start uint64
			told         uint64 // revision of the newest gap it was told of
			untold       []gap
		}
		var log gapLog
		var revision uint64
		var all []*listener
		newest := func() gap { return log.gaps[len(log.gaps)-1] }
		tell := func(t *rapid.T, l *listener) {
			from, to := log.since(l.epoch, l.start)
			switch {
			case len(l.untold) == 0:
				if from != 0 || to != 0 {
					t.Fatalf("told of %d..%d, which it knew", from, to)
				}
			case from != max(l.untold[0].from, l.start+1) || to != newest().to || from <= l.told:
				t.Fatalf("told of %d..%d, want %d..%d; it knew up to %d", from, to, l.untold[0].from, newest().to, l.told)
			}
			l.epoch, l.told, l.untold = log.epoch, max(l.told, to), nil
		}
		pick := func(t *rapid.T) *listener {
			if len(all) == 0 {
				t.Skip("nobody listens")
			}
			return rapid.SampledFrom(all).Draw(t, "listener")
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				// It joins at a revision that the dispatcher has yet to come to,
				// so a gap that opens next may begin or end before its start.
				start := revision + rapid.Uint64Range(0, 30).Draw(t, "ahead")
				all = append(all, &listener{epoch: log.epoch, start: start})
			},
			"gaps": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "count") {
					from := revision + rapid.Uint64Range(1, 5).Draw(t, "distance")
					revision = from + rapid.Uint64Range(0, 5).Draw(t, "length")
					log.add(from, revision)
					for _, l := range all {
						if revision > l.start {
							l.untold = append(l.untold, gap{from: from, to: revision})
						}
					}
				}
			},
			"tell": func(t *rapid.T) { tell(t, pick(t)) },
			"walk": func(t *rapid.T) {
				for _, l := range all {
					tell(t, l)
				}
				log.forget(log.epoch)
				if len(log.gaps) != 0 {
					t.Fatalf("%d gaps are remembered after everyone has heard", len(log.gaps))
				}
			},
			"interruptedWalk": func(t *rapid.T) {
				epoch := log.epoch
				for _, l := range all {
					tell(t, l)
					if rapid.Bool().Draw(t, "another") {
						log.add(revision+1, revision+1)
						revision++
						for _, l := range all {
							if revision > l.start {
								l.untold = append(l.untold, gap{from: revision, to: revision})
							}
						}
					}
				}
				log.forget(epoch)
			},
		})
	})
}
