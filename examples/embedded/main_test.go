package main

import (
	"net"
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// TestMain lets the test binary be the program itself.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_EXAMPLE") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func example(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
	return cmd
}

// TestEmbedded runs the example while the port that NATS usually has is taken.
func TestEmbedded(t *testing.T) {
	if l, err := net.Listen("tcp", node4222); err == nil {
		defer l.Close() // else someone has it already
	}
	out, err := example().CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := regexp.MustCompile(`^put app\.color "blue" at revision \d+, was ""
put app\.color "green" at revision \d+, was "blue"
delete app\.color "" at revision \d+, was "green"
$`)
	if !want.Match(out) {
		t.Errorf("printed:\n%s", out)
	}
}

const node4222 = "127.0.0.1:4222"

// TestEmbeddedFails: an address that is taken ends the program with an error.
func TestEmbeddedFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if out, err := example("-nats", l.Addr().String()).CombinedOutput(); err == nil {
		t.Errorf("listened on an address that is taken:\n%s", out)
	}
}
