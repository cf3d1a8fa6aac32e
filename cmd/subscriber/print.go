package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/watchcast/watchcast/fanout"
)

const shownBytes = 256 // of a value, on a line

// lines prints events for people: time, operation, key, revision, value.
func lines(w io.Writer) func(*fanout.Event) error {
	return func(e *fanout.Event) error {
		value := ""
		if e.Op == fanout.Put {
			value = "  " + show(e.Value)
		}
		_, err := fmt.Fprintf(w, "%s  %-6s  %s  rev %d%s\n",
			clock(e.Time), e.Op, fanout.SubjectForm(e.Key), e.Revision, value)
		return err
	}
}

// clock gives the time of day; of a deletion that was found by its effect there is none.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-           "
	}
	return t.Local().Format("15:04:05.000")
}

// show gives a value as text, quoted where it is not plain and cut where it is
// long.
func show(value []byte) string {
	cut := ""
	if len(value) > shownBytes {
		cut = fmt.Sprintf("… (%d bytes)", len(value))
		end := shownBytes
		for end > shownBytes-utf8.UTFMax && !utf8.RuneStart(value[end]) {
			end-- // not within a character
		}
		value = value[:end]
	}
	text := string(value)
	for _, r := range text {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return strconv.Quote(text) + cut
		}
	}
	return text + cut
}

// object is the form of an event in JSON.
type object struct {
	Key          string    `json:"key"` // as in a subject
	Op           string    `json:"op"`
	Value        *string   `json:"value,omitempty"`        // of a put, if it is text
	ValueBase64  []byte    `json:"value_base64,omitempty"` // of a put, if it is not
	Revision     uint64    `json:"revision"`
	PrevRevision uint64    `json:"prev_revision"`
	Time         time.Time `json:"time,omitzero"`   // not of a deletion that was found by its effect
	Batch        string    `json:"batch,omitempty"` // i/n in an atomic batch
}

// objects prints events for programs: a JSON object a line.
func objects(w io.Writer) func(*fanout.Event) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return func(e *fanout.Event) error {
		o := object{
			Key:          fanout.SubjectForm(e.Key),
			Op:           e.Op.String(),
			Revision:     e.Revision,
			PrevRevision: e.PrevRevision,
			Time:         e.Time,
		}
		if e.Op == fanout.Put {
			if text := string(e.Value); utf8.ValidString(text) {
				o.Value = &text
			} else {
				o.ValueBase64 = e.Value
			}
		}
		if e.BatchSize > 1 {
			o.Batch = fmt.Sprintf("%d/%d", e.Batch, e.BatchSize)
		}
		return encoder.Encode(o)
	}
}
