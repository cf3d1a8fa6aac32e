package fanout

import (
	"testing"
	"unsafe"
)

func TestOpNames(t *testing.T) {
	for op, name := range map[Op]string{
		Put: "put", Delete: "delete", Expire: "expire",
		Lagged: "lagged", Reset: "reset", Progress: "progress",
	} {
		if op.String() != name {
			t.Errorf("%d is called %q, want %q", op, op, name)
		}
		if back, ok := ParseOp(name); !ok || back != op {
			t.Errorf("ParseOp(%q) = %v, %v", name, back, ok)
		}
		if control := op >= Lagged; (&Event{Op: op}).Control() != control {
			t.Errorf("Control of %v is not %v", op, control)
		}
	}
	for _, name := range []string{"", "Put", "op(0)", Op(99).String()} {
		if op, ok := ParseOp(name); ok {
			t.Errorf("ParseOp(%q) = %v", name, op)
		}
	}
}

// TestEventSize: one byte more, and every change costs the next size class.
func TestEventSize(t *testing.T) {
	if size := unsafe.Sizeof(Event{}); size != 128 {
		t.Errorf("an Event takes %d bytes, want 128", size)
	}
}
