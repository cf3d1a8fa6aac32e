package fanout

import "fmt"

// strands follows what one reader gets of each producer, whose own revisions are
// dense: in order, and where some are missing, a marker came in between.
type strands struct {
	of      map[uint16]*strand
	markers int
}

type strand struct {
	through uint64 // its newest revision
	markers int    // that had come by then
}

func newStrands() *strands { return &strands{of: make(map[uint16]*strand)} }

func (s *strands) add(e *Event) error {
	if e.Op == Lagged {
		s.markers++
		return nil
	}
	if e.Source == 0 || e.SourceRevision == 0 {
		return fmt.Errorf("%v of revision %d has no source: %d.%d", e.Op, e.Revision, e.Source, e.SourceRevision)
	}
	if old := s.of[e.Source]; old != nil && e.SourceRevision == old.through && e.Batch > 0 {
		return nil
	}
	return s.reach(e.Source, e.SourceRevision, 1)
}

// reach checks that source may go on with revision, or, with a step of 0, may have
// ended there.
func (s *strands) reach(source uint16, revision, step uint64) error {
	old := s.of[source]
	if old == nil {
		old = new(strand)
		s.of[source] = old
	}
	switch {
	case revision < old.through+step:
		return fmt.Errorf("producer %d goes from revision %d back to %d", source, old.through, revision)
	case revision > old.through+step && s.markers == old.markers:
		return fmt.Errorf("producer %d goes from revision %d to %d, and no marker says that anything was lost", source, old.through, revision)
	}
	*old = strand{revision, s.markers}
	return nil
}
