package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestMemberEnds: a node that does not start is not waited for, and its last words are why.
func TestMemberEnds(t *testing.T) {
	m := &member{id: "n1", http: "http://127.0.0.1:1", command: func() *exec.Cmd {
		return exec.Command("/bin/sh", "-c", "for i in 1 2 3 4; do echo line $i >&2; done; echo 'node: no room' >&2; exit 3")
	}}
	if err := m.start(); err != nil {
		t.Fatal(err)
	}
	err := m.ready(t.Context())
	if want := `n1 has ended (exit status 3), and said "line 3; line 4; node: no room"`; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
	m.kill() // there is nothing to kill any more
	m.wait()
}

// TestTail: the end is kept, however it comes, and not the rest.
func TestTail(t *testing.T) {
	var said tail
	for range tailSize {
		said.Write([]byte("0123456789"))
	}
	said.Write([]byte("\nlast"))
	if got := said.String(); len(got) > tailSize+len("; ") || !strings.HasSuffix(got, "789; last") {
		t.Errorf("%d bytes are kept, the last of them are %q", len(got), got[len(got)-20:])
	}
	if said.Write([]byte(" line\n")); !strings.HasSuffix(said.String(), "; last line") {
		t.Errorf("kept is %q", said.String())
	}
}
