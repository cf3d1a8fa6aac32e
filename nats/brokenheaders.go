package nats

import (
	"reflect"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// leftOut is how much of a block of headers the client library may leave out without a word:
// the blanks before values but for one each. The shortest header that could stand in its
// place has more, Kv-TTL:1 with a line feed behind an empty line. Each line that was read may
// lack the one blank and a carriage return, and so make room for it.
//
// So no size shows a line behind an empty one where many before it lack these, or where the
// first line has a status. No client library is known that would send such a request by
// mistake: those of Go, C, Python and Rust write one blank and both ends of each line, so that
// what an empty line hides stands above the size of what was read, however many lines that
// are; the one of Java, which writes no blanks, takes no line feed in a value. A value of many
// lines, each with a colon and no blank, and an empty one, could pass where a client lets it.
const leftOut, lacking = 8, 2

// brokenHeaders reports whether a request came with headers of which not all could be read.
//
// The client library delivers such a message as if it had none, because of one line without
// a colon say, or only those before an empty line, and a write would be carried out without
// its conditions. It can be told only by the size of the message as it came, which package
// micro does not hand out: hence the look into its type. If that was not what is looked for
// here, every request without headers would be refused, which no test misses.
func brokenHeaders(req micro.Request) bool {
	h := req.Headers()
	m := messageOf(req)
	if m == nil {
		return h == nil
	}
	block := m.Size() - len(m.Subject) - len(m.Reply) - len(m.Data)
	if h == nil {
		return block > 0
	}
	more := leftOut
	for name, values := range h {
		for _, value := range values {
			block -= len(name) + len(": ") + len(value) + len("\r\n")
			more -= lacking
		}
	}
	return block > len("NATS/1.0\r\n\r\n")+max(more, 0)
}

// messageOf returns the message of a request, nil if it is not where it is looked for.
func messageOf(req micro.Request) *nats.Msg {
	v := reflect.Indirect(reflect.ValueOf(req))
	if v.Kind() != reflect.Struct {
		return nil
	}
	field := v.FieldByName("msg")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*nats.Msg]() {
		return nil
	}
	return (*nats.Msg)(field.UnsafePointer())
}
