// Package watchcast_test holds the tests of the repository as a whole.
package watchcast_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/watchcast/watchcast/"

// TestImportsGoOneWay holds the direction of imports: the watch core knows
// nobody, the state machine and the bridge know the core, the node composes
// them, and the commands only wire.
func TestImportsGoOneWay(t *testing.T) {
	allowed := map[string][]string{
		"fanout":            {},
		"fanout/fanouttest": {"fanout"},
		"fsm":               {"fanout"},
		"nats":              {"fanout"},
		"node":              {"fanout", "fsm", "nats"},
		"cmd/node":          {"fanout", "fsm", "nats", "node", "internal/given", "internal/verbatim"},
		"cmd/subscriber":    {"fanout", "nats", "internal/given", "internal/verbatim"},
	}
	for pkg, may := range allowed {
		for _, dep := range deps(t, pkg) {
			own, ok := strings.CutPrefix(dep, module)
			if ok && own != pkg && !slices.Contains(may, own) {
				t.Errorf("%s imports %s; it may import %v", pkg, own, may)
			}
		}
	}
}

// TestHeavyDependencies keeps the broker out of whoever needs none of it, and
// Raft out of the watch core and the bridge.
func TestHeavyDependencies(t *testing.T) {
	const (
		broker = "github.com/nats-io/nats-server/v2/server"
		raft   = "github.com/hashicorp/raft"
		client = "github.com/nats-io/nats.go"
	)
	banned := map[string][]string{
		"fanout":         {broker, raft, client},
		"fsm":            {broker, client},
		"nats":           {broker, raft},
		"cmd/subscriber": {broker, raft},
	}
	for pkg, list := range banned {
		for _, dep := range deps(t, pkg) {
			if slices.Contains(list, dep) {
				t.Errorf("%s links %s", pkg, dep)
			}
		}
	}
	if !slices.Contains(deps(t, "cmd/node"), broker) {
		t.Errorf("cmd/node does not link %s: this test looks for the wrong name", broker)
	}
}

func deps(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "./"+pkg).Output()
	if err != nil {
		t.Fatalf("go list -deps ./%s: %v", pkg, err)
	}
	return strings.Fields(string(out))
}
