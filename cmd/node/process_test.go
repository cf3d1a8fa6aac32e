package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/internal/natstest"
)

// asNode makes the test binary run as the node, so that tests drive real
// processes, under the race detector if they are.
const asNode = "WATCHCAST_TEST_AS_NODE"

func TestMain(m *testing.M) {
	if os.Getenv(asNode) != "" {
		useTestNames()
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// limit bounds every wait for something that should take milliseconds.
const limit = 30 * time.Second

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// output collects what a process prints.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed and replaced with every line
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) add(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.WriteString(line + "\n")
	close(o.changed)
	o.changed = make(chan struct{})
}

// process is a node in a process of its own.
type process struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr *output
	done           chan struct{} // closed when it has ended
}

func startProcess(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return startAs(t, os.Args[:1], env, args...)
}

// startAs starts a node by a command that takes the node's arguments at its end.
func startAs(t *testing.T, command, env []string, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(command[0], append(slices.Clone(command[1:]), args...)...), env)
}

func startCommand(t *testing.T, cmd *exec.Cmd, env []string) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, done: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), asNode+"=1"), env...)
	if p.cmd.Dir == "" {
		p.cmd.Dir = t.TempDir()
	}
	var readers sync.WaitGroup
	collect := func() (*output, *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		o := &output{changed: make(chan struct{})}
		readers.Go(func() {
			defer r.Close()
			for lines := bufio.NewScanner(r); lines.Scan(); {
				o.add(lines.Text())
			}
		})
		return o, w
	}
	var out, errs *os.File
	p.stdout, out = collect()
	p.stderr, errs = collect()
	p.cmd.Stdout, p.cmd.Stderr = out, errs
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	errs.Close()
	go func() {
		defer close(p.done)
		readers.Wait()
		p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("node %v printed:\n%s%s", cmd.Args[1:], p.stdout, p.stderr)
		}
	})
	return p
}

// nodeArgs are those of a node on any free ports.
func nodeArgs(dir string, more ...string) []string {
	return append([]string{"--data", dir, "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0"}, more...)
}

// wait returns the submatches of pattern once standard output has it.
func (p *process) wait(pattern string) []string {
	p.t.Helper()
	return p.waitFor(p.stdout, pattern)
}

// waitErr waits until standard error has pattern.
func (p *process) waitErr(pattern string) {
	p.t.Helper()
	p.waitFor(p.stderr, pattern)
}

func (p *process) waitFor(o *output, pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(limit)
	for {
		o.mu.Lock()
		match, changed := re.FindStringSubmatch(o.text.String()), o.changed
		o.mu.Unlock()
		if match != nil {
			return match
		}
		select {
		case <-changed:
		case <-p.done:
			if match := re.FindStringSubmatch(o.String()); match != nil {
				return match
			}
			p.t.Fatalf("the node ended without printing %q", pattern)
		case <-timeout:
			p.t.Fatalf("the node did not print %q within %v", pattern, limit)
		}
	}
}

func (p *process) url() string {
	p.t.Helper()
	return p.wait(`NATS\s+(nats://\S+)`)[1]
}

// ready waits until the node has greeted: it serves.
func (p *process) ready() { p.wait(`Ctrl-C stops`) }

// exit waits for the end and returns the exit code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.t.Fatalf("the node did not end within %v", limit)
		return 0
	}
}

// oneLine holds that the process said on standard error what went wrong in one line
// that begins with node:, behind its log.
func (p *process) oneLine(pattern string) {
	p.t.Helper()
	said := ""
	for line := range strings.Lines(p.stderr.String()) {
		if strings.HasPrefix(line, "node: ") {
			said += line
		}
	}
	if strings.Count(said, "\n") != 1 || !regexp.MustCompile(pattern).MatchString(said) {
		p.t.Errorf("said %q; want one line that begins with node: and has %q", said, pattern)
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// kill ends the process at once, as a crash does.
func (p *process) kill() {
	p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
}

func connect(t *testing.T, url string) *natsgo.Conn {
	t.Helper()
	return natstest.Connect(t, url)
}

// connectSoon connects as soon as somebody listens at url.
func connectSoon(t *testing.T, url string) *natsgo.Conn {
	t.Helper()
	for ctx := bounded(t); ; {
		conn, err := natsgo.Connect(url)
		if err == nil {
			t.Cleanup(conn.Close)
			return conn
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("connect to %s: %v", url, err)
		}
	}
}
