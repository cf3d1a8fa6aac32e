package nats

import "context"

var errStopped = &Error{CodeUnavailable, "this node does not lead any more; repeat"}

// answerWrites answers in the order of the proposals, which is the order in
// which they are applied.
func (s *Service) answerWrites(ctx context.Context) {
	for {
		select {
		case w := <-s.writes:
			s.answerWrite(w)
		case <-ctx.Done():
			for len(s.writes) > 0 {
				s.answerWrite(<-s.writes)
			}
			return
		}
	}
}

func (s *Service) answerWrite(w write) {
	revision, err := w.pending.Wait()
	if err != nil {
		s.fail(w.caller, err)
		return
	}
	s.answer(w.caller, Entry{Revision: revision})
}

// answerReads serves all reads that have come by one proof of leadership,
// which begins after they came.
func (s *Service) answerReads(ctx context.Context) {
	batch := make([]read, 0, MaxReads)
	for {
		batch = batch[:0]
		select {
		case r := <-s.reads:
			batch = append(batch, r)
		case <-ctx.Done():
			for len(s.reads) > 0 {
				s.fail((<-s.reads).caller, errStopped)
			}
			return
		}
		for more := true; more && len(batch) < cap(batch); {
			select {
			case r := <-s.reads:
				batch = append(batch, r)
			default:
				more = false
			}
		}
		err := s.backend.Linearize(ctx)
		if err != nil && ctx.Err() != nil {
			err = errStopped
		}
		for _, r := range batch {
			if r.listing != nil {
				s.startListing(ctx, r.listing, err)
				continue
			}
			if err != nil {
				s.fail(r.caller, err)
				continue
			}
			e, err := s.backend.Get(r.key)
			if err != nil {
				s.fail(r.caller, err)
				continue
			}
			s.answer(r.caller, e)
		}
		clear(batch)
	}
}
