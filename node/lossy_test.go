package node

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"testing"
)

// newLossy stands between a broker and its clients and loses events: those that lose,
// which is called for one after the other with its subject, says it does. All else passes.
func newLossy(t *testing.T, to string, lose func(subject string) bool) *link {
	t.Helper()
	return newLink(t, to, func(k *link) { k.lose = lose })
}

// lossy returns what reads the next thing that a broker says, but for what is lost: lines,
// of which those of messages announce so many bytes that follow.
func lossy(broker io.Reader, lose func(subject string) bool) func() ([]byte, error) {
	from := bufio.NewReader(broker)
	return func() ([]byte, error) {
		for {
			message, err := from.ReadBytes('\n')
			if err != nil {
				return nil, err
			}
			fields := bytes.Fields(message)
			if len(fields) <= 3 || string(fields[0]) != "HMSG" && string(fields[0]) != "MSG" {
				return message, nil
			}
			size, err := strconv.Atoi(string(fields[len(fields)-1]))
			if err != nil {
				return nil, err
			}
			body := make([]byte, size+len("\r\n"))
			if _, err := io.ReadFull(from, body); err != nil {
				return nil, err
			}
			if !lose(string(fields[1])) {
				return append(message, body...), nil
			}
		}
	}
}
