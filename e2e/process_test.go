//go:build cli || docker

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func mustMatch(t *testing.T, what, text, pattern string) []string {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if match == nil {
		t.Fatalf("%s: want %q in:\n%s", what, pattern, text)
	}
	return match
}

// patience bounds every wait for something that should take milliseconds.
const patience = 30 * time.Second

// bin is where TestMain puts the binaries.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "watchcast-e2e")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	bin = dir
	build := exec.Command("go", "build", "-o", dir, "../cmd/node", "../cmd/subscriber")
	if out, err := build.CombinedOutput(); err != nil {
		panic("build: " + err.Error() + "\n" + string(out))
	}
	if natsCLI() == "" {
		panic("NATS_CLI is not set; run make cli or make e2e")
	}
	return m.Run()
}

// process is a running program with what it has printed so far, standard
// output and error together.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}

	mu      sync.Mutex
	out     bytes.Buffer
	printed chan struct{} // closed and replaced at every line
}

func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), done: make(chan struct{}), printed: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	w.Close()
	go func() {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			p.mu.Lock()
			p.out.WriteString(lines.Text() + "\n")
			close(p.printed)
			p.printed = make(chan struct{})
			p.mu.Unlock()
		}
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%s %s printed:\n%s", filepath.Base(name), strings.Join(args, " "), p.output())
		}
	})
	return p
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// waitFor returns the submatches of pattern once the output has it.
func (p *process) waitFor(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		match, printed := re.FindStringSubmatch(p.out.String()), p.printed
		p.mu.Unlock()
		if match != nil {
			return match
		}
		select {
		case <-printed:
		case <-p.done:
			if match := re.FindStringSubmatch(p.output()); match != nil {
				return match
			}
			p.t.Fatalf("%s ended without printing %q", p.cmd.Path, pattern)
		case <-deadline:
			p.t.Fatalf("%s did not print %q within %v", p.cmd.Path, pattern, patience)
		}
	}
}

// exit waits for the end and returns the exit code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s did not end within %v", p.cmd.Path, patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop asks the process to end and returns the exit code.
func (p *process) stop() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	return p.exit()
}

// natsCLI is the path of the real nats command.
func natsCLI() string { return os.Getenv("NATS_CLI") }

// node is a running node.
type node struct {
	*process
	url string
}

func startNode(t *testing.T, dir string, args ...string) node {
	t.Helper()
	args = append([]string{"--data", dir, "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0"}, args...)
	p := start(t, filepath.Join(bin, "node"), args...)
	url := p.waitFor(`NATS\s+(nats://\S+)`)[1]
	return node{p, url}
}

// nats runs the nats command against the node and returns what it printed.
func (n node) nats(args ...string) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, natsCLI(), append([]string{"-s", n.url, "--no-context"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+n.t.TempDir(), "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		n.t.Fatalf("nats %s did not end within %v:\n%s", strings.Join(args, " "), patience, out)
	}
	if err != nil {
		return string(out) + "\n" + err.Error()
	}
	return string(out)
}

// watching starts a program that prints events, and returns when it is known to
// be subscribed: when it has printed a change of key made for that.
func (n node) watching(key string, name string, args ...string) *process {
	n.t.Helper()
	p := start(n.t, name, args...)
	deadline := time.After(patience)
	for {
		n.nats("req", "kv.put."+key, "are-you-there")
		p.mu.Lock()
		seen, printed := strings.Contains(p.out.String(), "are-you-there"), p.printed
		p.mu.Unlock()
		if seen {
			return p
		}
		select {
		case <-printed:
		case <-time.After(50 * time.Millisecond): // not subscribed yet: ask again
		case <-deadline:
			n.t.Fatalf("%s saw no change of %s within %v", name, key, patience)
		}
	}
}
