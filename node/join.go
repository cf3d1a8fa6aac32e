package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

const (
	joinTime    = 30 * time.Second       // to be taken in, by a cluster that has a leader by then
	joinRetry   = 250 * time.Millisecond // between attempts to be taken in
	joinPoll    = 50 * time.Millisecond  // to look whether a new member has caught up
	clusterTime = 2 * time.Second        // to ask whether the data are of the cluster to join
)

// join makes this node a member of the cluster of [Config.Join], if its data
// directory is empty or a join was not finished; a member's next start with the
// same configuration does nothing here. It returns once the cluster has taken the
// node in, without a vote. The rest, which takes as long as it takes to send all
// data, goes on in finishJoin.
func (n *Node) join(ctx context.Context) error {
	if n.config.Join == "" {
		return nil
	}
	join := strings.TrimRight(n.config.Join, "/")
	client, err := n.config.joinClient()
	if err != nil {
		return err
	}
	if !n.joining.Load() {
		return n.checkCluster(ctx, client, join)
	}
	if n.consensus.last != 0 && n.dir.takenIn() {
		// It may have its vote already, or have been removed: it does not ask anew.
		if err := n.checkCluster(ctx, client, join); err != nil {
			return err
		}
		n.letIn()
		return nil
	}
	if err := n.dir.beginJoin(); err != nil {
		return err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	var last error
	for {
		err := n.askIn(ctx, client, join)
		if err == nil {
			break
		}
		if ctx.Err() != nil && last != nil {
			err = last // says more than that the time is up
		}
		last = err
		if !again(err) && !errors.Is(err, errUnanswered) {
			err = errors.Join(err, n.forgetJoin())
			return fmt.Errorf("%w %s: refused: %w", ErrJoin, redactURL(join), err)
		}
		n.log.Debug("not taken in yet", "error", err)
		pause(ctx, joinRetry)
		if ctx.Err() != nil {
			return fmt.Errorf("%w %s, not within %v: %w", ErrJoin, redactURL(join), time.Since(began).Round(time.Second), err)
		}
	}
	n.log.Info("taken in by the cluster", "join", redactURL(join))
	if err := n.dir.noteTakenIn(); err != nil {
		return err
	}
	n.letIn()
	return nil
}

// letIn goes on when the cluster has taken the node in.
func (n *Node) letIn() {
	n.taken.Store(true)
	n.consensus.takePart()
	n.spawn("join", n.finishJoin)
}

// forgetJoin leaves the directory as it was, so that it can be used with another id,
// too, unless it has been a member's.
func (n *Node) forgetJoin() error {
	if n.dir == nil {
		return nil
	}
	err := n.dir.endJoin()
	if n.consensus.last == 0 {
		err = errors.Join(err, os.Remove(n.dir.identity()))
	}
	return err
}

// errUnanswered says that the node to join through could not be asked.
var errUnanswered = errors.New("no answer; is a node of the cluster running there, and is this its HTTP address?")

// askIn asks once to be taken in.
func (n *Node) askIn(ctx context.Context, client *http.Client, join string) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout) // as in finishJoin
	defer cancel()
	err := call(ctx, client, http.MethodPost, join+membersPath, newMember{ID: n.config.ID, Raft: string(n.consensus.address)}, nil)
	if remote := (*remoteError)(nil); err == nil || errors.As(err, &remote) {
		return err
	}
	if strange := (*tls.CertificateVerificationError)(nil); errors.As(err, &strange) {
		return fmt.Errorf("%w; give the CA of its certificate as JoinCA", strange)
	}
	return fmt.Errorf("%w: %w", err, errUnanswered)
}

// finishJoin waits until this node sees itself among the members, asks to be
// promoted once it has caught up unless it is to stay a non-voter, and then forgets
// that it was joining.
func (n *Node) finishJoin(ctx context.Context) {
	for ctx.Err() == nil {
		s, ok := n.member(n.config.ID)
		removed := n.removed.Load() // meanwhile; it does not come back by itself
		if removed || ok && (n.config.Nonvoter || s.Suffrage == raft.Voter) {
			n.joining.Store(false)
			if err := n.dir.endJoin(); err != nil {
				n.log.Warn("the next start goes through the join again, which does no harm", "error", err)
			}
			if !removed {
				n.log.Info("joined", "voter", s.Suffrage == raft.Voter)
			}
			return
		}
		if ok {
			asking, cancel := context.WithTimeout(ctx, changeTimeout) // the connection may be dead without a word
			err := n.askOnce(asking, change{verb: verbPromote, id: n.config.ID})
			cancel()
			switch {
			// A leader that knows no such member may have a removal in its log that is never
			// committed. Where it is, nobody sends this node anything, and watchRemoval asks twice.
			case err == nil || errors.Is(err, ErrNotCaughtUp) || errors.Is(err, ErrRemoved) || errors.Is(err, ErrUnknownMember) || again(err):
			default:
				n.log.Warn("not promoted to voter, asking again", "error", err)
				pause(ctx, joinRetry)
			}
		}
		pause(ctx, joinPoll)
	}
}

// checkCluster refuses to start with data of another cluster than the one to join.
// If nobody answers there is nothing to compare: the other nodes may be about to
// start, too.
func (n *Node) checkCluster(ctx context.Context, client *http.Client, join string) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTime)
	defer cancel()
	own := n.clusterID()
	if own == "" {
		return n.checkMembership(ctx, client, join)
	}
	var there struct {
		Cluster string `json:"cluster"`
	}
	if err := call(ctx, client, http.MethodGet, join+"/v1/status", nil, &there); err != nil || there.Cluster == "" || there.Cluster == own {
		return nil
	}
	return fmt.Errorf("%w %s: %w: %s has data of cluster %s, and that is %s; give an empty DataDir to join it, or leave out Join",
		ErrJoin, redactURL(join), ErrOtherCluster, n.config.DataDir, own, there.Cluster)
}

// checkMembership does the same for data of a cluster that no leader has named: they are
// of that other one only if this node is a member there.
func (n *Node) checkMembership(ctx context.Context, client *http.Client, join string) error {
	var there Membership
	err := call(ctx, client, http.MethodGet, join+membersPath, nil, &there)
	if err != nil || there.Leader == "" || slices.ContainsFunc(there.Members, func(m Member) bool { return m.ID == n.config.ID }) {
		return nil
	}
	return fmt.Errorf("%w %s: %w: %s has data in which no leader has named a cluster, and %s is no member there; give an empty DataDir to join it, or leave out Join",
		ErrJoin, redactURL(join), ErrOtherCluster, n.config.DataDir, n.config.ID)
}

// redactURL returns url without a password.
func redactURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the URL"
	}
	return u.Redacted()
}

// join returns the file that exists while a node joins: from before it asks until it
// is the member that it wants to be. A voter that was demoted later must not ask
// again. It says whether the cluster has taken the node in.
func (d *dataDir) join() string { return filepath.Join(d.path, "joining") }

func (d *dataDir) joining() bool {
	if d == nil {
		return false
	}
	_, err := os.Stat(d.join())
	return err == nil
}

func (d *dataDir) beginJoin() error {
	if d == nil {
		return nil
	}
	if err := replaceFile(d.join(), nil, true); err != nil {
		return fmt.Errorf("%w %s: %w", ErrDataDir, d.path, err)
	}
	return nil
}

const joinTakenIn = "taken in\n"

// noteTakenIn notes that the cluster has taken the node in.
func (d *dataDir) noteTakenIn() error {
	if d == nil {
		return nil
	}
	if err := replaceFile(d.join(), []byte(joinTakenIn), true); err != nil {
		return fmt.Errorf("%w %s: %w", ErrDataDir, d.path, err)
	}
	return nil
}

func (d *dataDir) takenIn() bool {
	if d == nil {
		return false
	}
	data, err := os.ReadFile(d.join())
	return err == nil && string(data) == joinTakenIn
}

func (d *dataDir) endJoin() error {
	if d == nil {
		return nil
	}
	if err := os.Remove(d.join()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w %s: %w", ErrDataDir, d.path, err)
	}
	return nil
}
