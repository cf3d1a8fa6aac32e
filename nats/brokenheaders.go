package nats

import (
	"reflect"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// brokenHeaders reports whether a request came with headers of which none could be read.
//
// The client library delivers such a message as if it had none, because of one line without
// a colon say, and a write would be carried out without its conditions. It can be told only
// by the size of the message as it came, which package micro does not hand out: hence the
// look into its type. If that was not what is looked for here, every request without headers
// would be refused, which no test misses.
func brokenHeaders(req micro.Request) bool {
	if req.Headers() != nil {
		return false
	}
	v := reflect.Indirect(reflect.ValueOf(req))
	if v.Kind() != reflect.Struct {
		return true
	}
	field := v.FieldByName("msg")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*nats.Msg]() {
		return true
	}
	m := (*nats.Msg)(field.UnsafePointer())
	return m.Size() > len(m.Subject)+len(m.Reply)+len(m.Data)
}
