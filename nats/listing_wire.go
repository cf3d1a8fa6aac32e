package nats

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// Headers of lists and of what has changed since a revision. Beside these each chunk
// of a reply has [HeaderRev], the revision at which all of them stand.
const (
	// HeaderSince is the revision above which a kv.since asks. Without it the reply
	// says only at which revision the state stands.
	HeaderSince = "Kv-Since"
	// HeaderChunk numbers the chunks of a reply, from 1.
	HeaderChunk = "Kv-Chunk"
	// HeaderLast is "true" on the last chunk, and not there on the others.
	HeaderLast = "Kv-Last"
	// HeaderOldest comes with CodeGone: the lowest revision that Kv-Since may have.
	HeaderOldest = "Kv-Oldest"
)

// Change is an entry of a list, or the newest change of a key since a revision. On the
// wire it is a line, the value as it is, and a line feed:
//
//	put <revision> <time> <ttl> <length> <key>
//	delete <revision> <time> - 0 <key>
//	expire <revision> <time> - 0 <key>
//
// The key is in its subject form, which has no white space; the length is the
// value's, in bytes. A chunk is such entries one after the other. There is one way to
// write an entry.
type Change struct {
	Op       fanout.Op // Put, Delete or Expire; of a delete that is long ago only Delete is known
	Key      string
	Value    []byte        // of a Put, not nil; nil of the others
	Revision uint64        // of the change; never 0
	Time     time.Time     // when the leader appended it to its log, UTC; zero, and - on the wire, if it is not known
	TTL      time.Duration // of a Put: what is left; 0, and - on the wire, if it is for ever or not known
}

// appendChange appends the wire form of c.
func appendChange(dst []byte, c Change) []byte {
	dst = append(c.appendLine(dst), '\n')
	dst = append(dst, c.Value...)
	return append(dst, '\n')
}

// appendLine appends the line of c without its end.
func (c Change) appendLine(dst []byte) []byte {
	dst = append(append(dst, c.Op.String()...), ' ')
	dst = append(strconv.AppendUint(dst, c.Revision, 10), ' ')
	if c.Time.IsZero() {
		dst = append(dst, "- "...)
	} else {
		dst = append(c.Time.UTC().AppendFormat(dst, time.RFC3339Nano), ' ')
	}
	if c.TTL == 0 {
		dst = append(dst, "- "...)
	} else {
		dst = append(append(dst, c.TTL.String()...), ' ')
	}
	dst = append(strconv.AppendInt(dst, int64(len(c.Value)), 10), ' ')
	return append(dst, fanout.SubjectForm(c.Key)...)
}

// parseChanges yields the entries of a chunk. After an error, which says what is wrong
// with which entry, it ends. Values are copies: one that is kept does not keep the
// chunk.
func parseChanges(data []byte) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for n, rest := 1, data; len(rest) > 0; n++ {
			var c Change
			var err error
			if c, rest, err = parseChange(rest); err != nil {
				yield(Change{}, fmt.Errorf("nats: entry %d of the chunk: %w", n, err))
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// maxLine bounds the line of an entry: its key, and more than its other fields need.
const maxLine = 3*fanout.MaxKeyBytes + 256

// parseChange returns the first entry of data, and what follows it.
func parseChange(data []byte) (c Change, rest []byte, err error) {
	line, _, found := bytes.Cut(data[:min(len(data), maxLine)], []byte{'\n'})
	if !found {
		return Change{}, nil, errors.New("its line has no end")
	}
	rest = data[len(line)+1:]
	length, err := c.parseLine(line)
	if err != nil {
		return Change{}, nil, err
	}
	if length >= uint64(len(rest)) {
		return Change{}, nil, fmt.Errorf("its value should have %d bytes and a line feed; %d bytes are left", length, len(rest))
	}
	if rest[length] != '\n' {
		return Change{}, nil, fmt.Errorf("no line feed follows the %d bytes of its value", length)
	}
	if c.Op == fanout.Put {
		c.Value = append(make([]byte, 0, length), rest[:length]...)
	}
	return c, rest[length+1:], nil
}

// parseLine is the inverse of appendLine. It returns the length of the value that is
// to follow.
func (c *Change) parseLine(line []byte) (length uint64, err error) {
	fields := bytes.Split(line, []byte{' '})
	if len(fields) != 6 {
		return 0, fmt.Errorf("its line has %d fields, not 6", len(fields))
	}
	op, known := fanout.ParseOp(string(fields[0]))
	if c.Op = op; !known || op > fanout.Expire {
		return 0, badField("operation", fields[0])
	}
	if c.Revision, err = parseDecimal(fields[1]); err != nil || c.Revision == 0 {
		return 0, badField("revision", fields[1])
	}
	if string(fields[2]) != "-" {
		var ok bool
		if c.Time, ok = parseTime(string(fields[2])); !ok || c.Time.IsZero() {
			return 0, badField("time", fields[2])
		}
	}
	if string(fields[3]) != "-" {
		c.TTL, err = time.ParseDuration(string(fields[3]))
		if err != nil || c.TTL <= 0 || c.Op != fanout.Put || c.TTL.String() != string(fields[3]) {
			return 0, badField("time to live", fields[3])
		}
	}
	if length, err = parseDecimal(fields[4]); err != nil || length > 0 && c.Op != fanout.Put {
		return 0, badField("length", fields[4])
	}
	if c.Key, err = fanout.ParseSubjectForm(string(fields[5])); err != nil {
		return 0, err
	}
	return length, nil
}

func badField(name string, value []byte) error {
	return fmt.Errorf("%s is %.40q", name, value)
}

// parseDecimal reads a number that is written no longer than needed.
func parseDecimal(text []byte) (uint64, error) {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err == nil && len(text) > 1 && text[0] == '0' {
		return 0, strconv.ErrSyntax
	}
	return n, err
}

// chunk is what the headers of a chunk say.
type chunk struct {
	revision uint64 // at which all chunks of the reply stand: see HeaderRev
	number   uint64 // from 1
	last     bool
}

func (c chunk) header() nats.Header {
	h := nats.Header{
		HeaderRev:   {strconv.FormatUint(c.revision, 10)},
		HeaderChunk: {strconv.FormatUint(c.number, 10)},
	}
	if c.last {
		h[HeaderLast] = []string{"true"}
	}
	return h
}

// parseChunk reads the headers of a message that is no error.
func parseChunk(m *nats.Msg) (c chunk, err error) {
	if c.revision, err = strconv.ParseUint(m.Header.Get(HeaderRev), 10, 64); err != nil {
		return chunk{}, badChunk(m, HeaderRev)
	}
	if c.number, err = strconv.ParseUint(m.Header.Get(HeaderChunk), 10, 64); err != nil || c.number == 0 {
		return chunk{}, badChunk(m, HeaderChunk)
	}
	switch last := m.Header.Get(HeaderLast); last {
	case "":
	case "true":
		c.last = true
	default:
		return chunk{}, badChunk(m, HeaderLast)
	}
	return c, nil
}

func badChunk(m *nats.Msg, name string) error {
	return fmt.Errorf("nats: message is no chunk of a listing: header %s is %q", name, m.Header.Get(name))
}
