package main

import (
	"testing"

	"github.com/watchcast/watchcast/nats"
)

// TestFreshIsSaid: with the revision where there is one; without --state none is known.
func TestFreshIsSaid(t *testing.T) {
	var out syncBuffer
	say := newSayer(&out)
	say.update(nats.Update{Kind: nats.Fresh, Revision: 12})
	say.update(nats.Update{Kind: nats.Fresh})
	if want := "subscriber: up to date again, at revision 12\nsubscriber: what is published comes again\n"; out.String() != want {
		t.Errorf("said %q; want %q", out.String(), want)
	}
}
