package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/watchcast/watchcast/internal/freeport"
)

// processes is three nodes of one cluster, each in a process of its own, with their
// files on the disk.
type processes struct {
	dir     string
	members []*member
}

// member is a node in a process of its own.
type member struct {
	id, nats, http string
	command        func() *exec.Cmd
	running        *exec.Cmd     // nil if it was not started, or waited for
	said           *tail         // what it wrote to its standard error
	ended          chan struct{} // closed when it has
}

const (
	memberReady = 30 * time.Second
	memberPoll  = 20 * time.Millisecond
)

func startProcesses(ctx context.Context, dir string) (_ *processes, err error) {
	p := &processes{}
	if p.dir, err = os.MkdirTemp(dir, "watchcast-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.stop()
			err = fmt.Errorf("start three processes: %w", err)
		}
	}()
	binary, err := filepath.Abs(filepath.Join(p.dir, "node"))
	if err != nil {
		return nil, err
	}
	if err := buildNode(ctx, binary); err != nil {
		return nil, err
	}
	const size = 3
	addrs, err := freeAddresses(4 * size)
	if err != nil {
		return nil, err
	}
	clients, https, rafts, routes := addrs[:size], addrs[size:2*size], addrs[2*size:3*size], addrs[3*size:]
	var peers []string
	for i, addr := range rafts {
		peers = append(peers, fmt.Sprintf("n%d=%s", i+1, addr))
	}
	for i := range size {
		m := &member{id: fmt.Sprintf("n%d", i+1), nats: "nats://" + clients[i], http: "http://" + https[i]}
		m.command = func() *exec.Cmd {
			return exec.Command(binary, "--id", m.id, "--data", filepath.Join(p.dir, m.id), "--log-level", "error",
				"--nats", clients[i], "--http", https[i], "--raft", rafts[i], "--routes", routes[i],
				"--peers", strings.Join(peers, ","), "--join-routes", strings.Join(routes, ","), "--cluster-secret", "measured")
		}
		p.members = append(p.members, m)
		if err := m.start(); err != nil {
			return nil, err
		}
	}
	for _, m := range p.members {
		if err := m.ready(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// buildNode builds cmd/node in its own module, which knows what it needs.
func buildNode(ctx context.Context, binary string) error {
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/watchcast/watchcast").Output()
	if err != nil {
		return fmt.Errorf("find the module of the node: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-C", strings.TrimSpace(string(module)), "-o", binary, "./cmd/node")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the node: %w: %s", err, out)
	}
	return nil
}

// freeAddresses returns addresses on which nobody listens, and nobody will between the end
// of a node and its next start.
func freeAddresses(n int) (addrs []string, err error) {
	addrs = make([]string, n)
	for i := range addrs {
		if addrs[i], err = freeport.Find(); err != nil {
			return nil, err
		}
	}
	return addrs, nil
}

func (p *processes) stop() {
	for _, m := range p.members {
		m.kill()
	}
	for _, m := range p.members {
		m.wait()
	}
	os.RemoveAll(p.dir)
}

// start starts the process, and a goroutine that ends with it.
func (m *member) start() error {
	running, said, ended := m.command(), &tail{}, make(chan struct{})
	running.Stderr = said
	if err := running.Start(); err != nil {
		return err
	}
	m.running, m.said, m.ended = running, said, ended
	go func() {
		defer close(ended)
		running.Wait()
	}()
	return nil
}

// kill ends the process as a crash does. It may go on for a moment: until wait returns.
func (m *member) kill() {
	if m.running != nil {
		m.running.Process.Kill()
	}
}

// wait returns when the process is gone.
func (m *member) wait() {
	if m.running != nil {
		<-m.ended
		m.running = nil
	}
}

// ready waits until the node says that it is, or has ended.
func (m *member) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, memberReady)
	defer cancel()
	poll := time.NewTicker(memberPoll)
	defer poll.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.http+"/readyz", nil)
		if err != nil {
			return err
		}
		if r, err := http.DefaultClient.Do(request); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-poll.C:
		case <-m.ended:
			return fmt.Errorf("%s has ended (%v), and said %q", m.id, m.running.ProcessState, m.said)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready (%w), and said %q", m.id, context.Cause(ctx), m.said)
		}
	}
}
