package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
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

func TestWrap(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := regexp.MustCompile(`^put fruit\.apple 1 at revision \d+
put fruit\.pear 1 at revision \d+
put fruit\.apple 2 at revision \d+
$`)
	if !want.Match(out) {
		t.Errorf("printed:\n%s", out)
	}
}

// TestTwentyLines: a watch for a machine that is there takes no more of its owner's
// code than that, and the machine need not be touched.
func TestTwentyLines(t *testing.T) {
	read := func(name string) string {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(source)
	}
	_, code, _ := strings.Cut(read("watch.go"), "\n)\n") // behind the imports
	lines := 0
	for line := range strings.Lines(code) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			lines++
		}
	}
	if lines == 0 || lines > 20 {
		t.Errorf("watch.go has %d lines of code", lines)
	}
	if strings.Contains(read("counters.go"), "github.com/watchcast") {
		t.Error("the state machine knows of Watchcast")
	}
}
