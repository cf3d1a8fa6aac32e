package nats

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// fields are the names of those of an [operation].
var fields = []string{"op", "key", "value", "base64", "if_rev", "ttl"}

// checkFields refuses a batch in which an operation has a field twice, or by a name in other
// case. The decoder takes both, and the last one counts: a condition that is there would be
// dropped. It must have taken the batch before.
func checkFields(data []byte) error {
	var seen [6]bool // of fields, in this operation
	operation := -1
	for at := 0; at < len(data); {
		switch data[at] {
		case '{':
			operation++
			seen = [6]bool{}
			at++
			continue
		case '"':
		default:
			at++
			continue
		}
		text := data[at : at+lengthOfString(data[at:])]
		at += len(text)
		if behind := bytes.TrimLeft(data[at:], " \t\r\n"); len(behind) == 0 || behind[0] != ':' {
			continue // a value
		}
		name := nameOf(text)
		field := slices.IndexFunc(fields, func(f string) bool { return f == string(name) })
		switch {
		case field < 0:
			return &Error{CodeBadRequest, fmt.Sprintf("operation %d of the batch has the field %q, which is no name of one; write %s", operation, name, meant(string(name)))}
		case seen[field]:
			return &Error{CodeBadRequest, fmt.Sprintf("operation %d of the batch has the field %q twice; give it once", operation, name)}
		}
		seen[field] = true
	}
	return nil
}

// meant returns the name that one in other case stands for.
func meant(name string) string {
	for _, f := range fields {
		if strings.EqualFold(f, name) {
			return strconv.Quote(f)
		}
	}
	return "one of " + strings.Join(fields, ", ")
}

// lengthOfString returns how long the string is that valid JSON begins with, quotes included.
func lengthOfString(data []byte) int {
	end := 1
	for {
		end += bytes.IndexByte(data[end:], '"')
		escapes := end
		for data[escapes-1] == '\\' {
			escapes--
		}
		end++
		if (end-1-escapes)%2 == 0 {
			return end
		}
	}
}

// nameOf returns what a string of JSON says.
func nameOf(text []byte) []byte {
	if bytes.IndexByte(text, '\\') < 0 {
		return text[1 : len(text)-1]
	}
	var name string
	json.Unmarshal(text, &name) // its only error would be that it is none
	return []byte(name)
}
