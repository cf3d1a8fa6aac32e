package main

import (
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
)

// output prints changes, or figures about them.
type output struct {
	print func(*fanout.Event) error
	meter *meter // nil without --stats
	clock *time.Ticker
}

func newOutput(f *flags, w io.Writer, say *sayer, s *followed) *output {
	if f.Stats {
		file, ok := w.(*os.File)
		return &output{meter: newMeter(w, say, s, ok && term.IsTerminal(int(file.Fd()))), clock: time.NewTicker(time.Second)}
	}
	if f.JSON {
		return &output{print: objects(w)}
	}
	return &output{print: lines(w)}
}

// tick is when to print figures; it never comes if there are none.
func (o *output) tick() <-chan time.Time {
	if o.clock == nil {
		return nil
	}
	return o.clock.C
}

func (o *output) change(u nats.Update) error {
	if o.meter != nil {
		o.meter.change(u)
		return nil
	}
	return o.print(u.Event)
}

// note takes what a watch tells about itself.
func (o *output) note(u nats.Update) {
	if o.meter != nil {
		o.meter.note(u)
	}
}

func (o *output) figures() error { return o.meter.print() }

func (o *output) end() error {
	if o.meter == nil {
		return nil
	}
	o.clock.Stop()
	return o.meter.print()
}
