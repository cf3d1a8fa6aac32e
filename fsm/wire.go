package fsm

import (
	"errors"
	"fmt"
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"
)

// fieldSet is a set of field numbers below 64. Others cannot be in it; no
// message has them.
type fieldSet uint64

func setOf(nums ...protowire.Number) fieldSet {
	var s fieldSet
	for _, n := range nums {
		s |= 1 << n
	}
	return s
}

func (s fieldSet) has(n protowire.Number) bool { return s&setOf(n) != 0 }

func (s fieldSet) first() int { return bits.TrailingZeros64(uint64(s)) }

func appendUint(dst []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

func appendUnless0(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return appendUint(dst, num, v)
}

func appendFixed32(dst []byte, num protowire.Number, v uint32) []byte {
	return protowire.AppendFixed32(protowire.AppendTag(dst, num, protowire.Fixed32Type), v)
}

func appendFixed(dst []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(dst, num, protowire.Fixed64Type), v)
}

func appendBytes[T string | []byte](dst []byte, num protowire.Number, v T) []byte {
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	return append(protowire.AppendVarint(dst, uint64(len(v))), v...)
}

// sizeUint returns what appendUint appends.
func sizeUint(num protowire.Number, v uint64) int {
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}

// sizeBytes returns what appendBytes appends for n bytes.
func sizeBytes(num protowire.Number, n int) int {
	return protowire.SizeTag(num) + protowire.SizeBytes(n)
}

var (
	errWireType   = errors.New("it is not of the right type")
	errNotMinimal = errors.New("a number is written longer than needed")
)

// fields reads a message in the protobuf wire format, and only its one
// canonical form: fields in ascending order, each once, numbers as short as
// they go. So there is one way to write a message, nothing can hide in it, and
// what was read encodes to the same bytes again.
//
//	for f := readFields(b); f.next(); {
//		switch f.num {
//		case 1:
//			x = f.uint()
//		default:
//			f.unknown()
//		}
//	}
//
// The first error ends the loop and stays in err.
type fields struct {
	rest []byte
	num  protowire.Number
	typ  protowire.Type
	seen fieldSet
	err  error
}

func readFields(b []byte) *fields { return &fields{rest: b} }

// next moves to the next field. Its value must be taken before the next call.
func (f *fields) next() bool {
	if f.err != nil || len(f.rest) == 0 {
		return false
	}
	num, typ, n := protowire.ConsumeTag(f.rest)
	switch {
	case n < 0:
		f.err = fmt.Errorf("after field %d: %w", f.num, protowire.ParseError(n))
		return false
	case n != protowire.SizeTag(num):
		f.err = fmt.Errorf("after field %d: %w", f.num, errNotMinimal)
		return false
	case num <= f.num:
		f.err = fmt.Errorf("field %d follows field %d; fields are in ascending order, each once", num, f.num)
		return false
	}
	f.num, f.typ, f.rest = num, typ, f.rest[n:]
	f.seen |= setOf(num)
	return true
}

func (f *fields) unknown() { f.err = fmt.Errorf("field %d is unknown", f.num) }

func (f *fields) uint() uint64 {
	v, n := protowire.ConsumeVarint(f.rest)
	f.took(protowire.VarintType, n, protowire.SizeVarint(v))
	return v
}

func (f *fields) fixed() uint64 {
	v, n := protowire.ConsumeFixed64(f.rest)
	f.took(protowire.Fixed64Type, n, protowire.SizeFixed64())
	return v
}

func (f *fields) fixed32() uint32 {
	v, n := protowire.ConsumeFixed32(f.rest)
	f.took(protowire.Fixed32Type, n, protowire.SizeFixed32())
	return v
}

// notZero is uint for a field that is left out where it is 0.
func (f *fields) notZero() uint64 {
	v := f.uint()
	if v == 0 && f.err == nil {
		f.err = fmt.Errorf("field %d is 0; it is left out then", f.num)
	}
	return v
}

// bytes returns a part of the message, not a copy.
func (f *fields) bytes() []byte {
	v, n := protowire.ConsumeBytes(f.rest)
	f.took(protowire.BytesType, n, protowire.SizeBytes(len(v)))
	return v
}

// took accounts for a value of type typ that had n bytes where want would do.
func (f *fields) took(typ protowire.Type, n, want int) {
	switch {
	case f.typ != typ:
		f.err = fmt.Errorf("field %d: %w", f.num, errWireType)
	case n < 0:
		f.err = fmt.Errorf("field %d: %w", f.num, protowire.ParseError(n))
	case n != want:
		f.err = fmt.Errorf("field %d: %w", f.num, errNotMinimal)
	default:
		f.rest = f.rest[n:]
	}
}

// finish returns the error of the message as a whole, which must have all of
// required and may have optional.
func (f *fields) finish(required, optional fieldSet) error {
	if f.err != nil {
		return f.err
	}
	if missing := required &^ f.seen; missing != 0 {
		return fmt.Errorf("field %d is missing", missing.first())
	}
	if extra := f.seen &^ (required | optional); extra != 0 {
		return fmt.Errorf("field %d does not belong here", extra.first())
	}
	return nil
}
