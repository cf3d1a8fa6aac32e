package node

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/watchcast/watchcast/internal/freeport"
)

// TestStartedElsewhere: a member that is started with another Raft address, before it has its
// vote or after that, says that the others look for it at the old one, and what to do.
func TestStartedElsewhere(t *testing.T) {
	t.Parallel()
	for name, joins := range map[string]bool{"a member": false, "one that joins": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leader, n, config := takenIn(t)
			if joins {
				config.Nonvoter = false
				if err := os.WriteFile(n.dir.join(), []byte(joinTakenIn), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			log, before := &logged{}, config.Raft
			config.Raft, config.ElectionTimeout = freeport.Address(t), 250*time.Millisecond
			config.Logger = slog.New(slog.NewTextHandler(log, nil))
			n = start(t, config)
			eventually(t, "it says where it is looked for", func() bool {
				reason := n.unready()
				return strings.Contains(reason, before) && strings.Contains(reason, config.Raft) && strings.Contains(reason, "remove it")
			})
			if lines := log.lines("look for this one at another address"); len(lines) != 1 || !strings.Contains(lines[0], before) {
				t.Errorf("its log says %q", lines)
			}
			stop(t, n)

			config.Raft = before
			n = start(t, config)
			eventually(t, "it is ready at its address", func() bool { return n.unready() == "" })
			if joins {
				awaitMember(t, leader, "n2", true)
			}
		})
	}
}
