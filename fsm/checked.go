package fsm

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// Checked returns a reader of a snapshot that is read to its end by who does not look into it.
// Where in ends, it fails with an error that wraps [ErrCorruptSnapshot] instead of [io.EOF],
// unless the checksum is that of the bytes before it. Nothing else is checked, and nothing kept.
func Checked(in io.Reader) io.Reader { return &checkedReader{in: in} }

const checksumBytes = 4

// checkedReader takes what it reads into the sum once as much came behind it as may be the
// checksum, which nothing announces.
type checkedReader struct {
	in   io.Reader
	sum  uint32
	tail []byte // the last bytes, which are not in the sum yet
}

func (r *checkedReader) Read(b []byte) (int, error) {
	n, err := r.in.Read(b)
	r.add(b[:n])
	if err == io.EOF {
		err = r.end()
	}
	return n, err
}

func (r *checkedReader) add(b []byte) {
	if len(b) > checksumBytes {
		r.sum = crc32.Update(r.sum, castagnoli, r.tail)
		end := len(b) - checksumBytes
		r.sum = crc32.Update(r.sum, castagnoli, b[:end])
		r.tail = append(r.tail[:0], b[end:]...)
		return
	}
	r.tail = append(r.tail, b...)
	if over := len(r.tail) - checksumBytes; over > 0 {
		r.sum = crc32.Update(r.sum, castagnoli, r.tail[:over])
		r.tail = append(r.tail[:0], r.tail[over:]...)
	}
}

func (r *checkedReader) end() error {
	if len(r.tail) < checksumBytes {
		return fmt.Errorf("%w: it ends before a checksum", ErrCorruptSnapshot)
	}
	if have := binary.LittleEndian.Uint32(r.tail); have != r.sum {
		return fmt.Errorf("%w: its checksum is %08x; its bytes make %08x", ErrCorruptSnapshot, have, r.sum)
	}
	return io.EOF
}
