// Package verbatim has the flag parser of the commands take text as it is.
package verbatim

import (
	"reflect"

	"github.com/alecthomas/kong"
)

// Strings is for strings on the command line and in the environment. By itself the parser
// sends them through JSON, and what is no UTF-8 becomes U+FFFD there: another file, and
// another key.
func Strings() kong.Option {
	return kong.KindMapper(reflect.String, kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		next := ctx.Scan.Peek()
		text, ok := next.Value.(string)
		if !ok || !next.IsValue() { // the parser says what is wrong with it
			return ctx.Scan.PopValueInto("string", target.Addr().Interface())
		}
		ctx.Scan.Pop()
		target.SetString(text)
		return nil
	}))
}
