//go:build docker

package e2e

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/watchcast/watchcast/internal/natstest"
	"github.com/watchcast/watchcast/nats"
)

// healing are subscribers that make up for what they lose, one that is at each node
// first, and goes to the others when that is away.
func (c *cluster) healing() map[string]*process {
	c.t.Helper()
	subs := make(map[string]*process)
	for _, m := range c.nodes {
		servers := m.url + "," + c.urls()
		subs[m.name] = m.watching("held."+m.name, filepath.Join(bin, "subscriber"), "-s", servers, "--state", "--json", "e2e.>", "held."+m.name)
	}
	return subs
}

// pause stops a process where it is, and resume lets it go on.
func (p *process) pause() { p.signal(syscall.SIGSTOP) }

func (p *process) resume() { p.signal(syscall.SIGCONT) }

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// shown is what a subscriber has printed, added up.
func shown(out string) map[string]string {
	state := make(map[string]string)
	for line := range strings.Lines(out) {
		var e struct{ Key, Op, Value string }
		if json.Unmarshal([]byte(line), &e) != nil || !strings.HasPrefix(e.Key, "e2e.") {
			continue
		}
		if e.Op == "put" {
			state[e.Key] = e.Value
		} else {
			delete(state, e.Key)
		}
	}
	return state
}

// healed waits until what each of these subscribers has printed is what the store has.
func (c *cluster) healed(subs map[string]*process) {
	c.t.Helper()
	want := c.listed("e2e.>")
	for name, p := range subs {
		c.eventually("the subscriber at "+name+" shows what the store has", func() bool {
			return maps.Equal(shown(p.output()), want)
		})
	}
}

// listed asks the leader for what it has.
func (c *cluster) listed(pattern string) map[string]string {
	c.t.Helper()
	conn := natstest.Connect(c.t, c.urls(), nats.ClientConn()...)
	defer conn.Close()
	client, err := nats.NewClient(nats.ClientOptions{Conn: conn, Timeout: patience})
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	list, err := client.List(c.t.Context(), pattern)
	if err != nil {
		c.t.Fatal(err)
	}
	all := make(map[string]string)
	for e, err := range list.All() {
		if err != nil {
			c.t.Fatal(err)
		}
		all[e.Key] = string(e.Value)
	}
	return all
}
