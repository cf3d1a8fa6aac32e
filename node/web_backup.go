package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/watchcast/watchcast/nats"
)

// /v1/backup is the state of the cluster as one document: GET reads it, PUT replaces
// it. A PUT, because no web page can have a browser send one elsewhere.
const (
	backupStart = 10 * time.Second // to find the leader and prove that it leads
	backupStall = 30 * time.Second // for the next bytes to get through
)

// errBackupStart is why a backup is not begun: a leader is needed, or the revision asked for.
var errBackupStart = fmt.Errorf("not within %v; repeat, at another node if it is so again: %w", backupStart, context.DeadlineExceeded)

// Headers of a backup over HTTP.
const (
	headerBackupCluster  = "Watchcast-Cluster"
	headerBackupRevision = "Watchcast-Revision"
	headerBackupKeys     = "Watchcast-Keys"
)

// backupReply is what a restore answers.
type backupReply struct {
	Cluster        string `json:"cluster"` // that has the keys now
	Revision       uint64 `json:"revision"`
	Keys           int    `json:"keys"`
	BackupCluster  string `json:"backup_cluster"`
	BackupRevision uint64 `json:"backup_revision"`
}

// serveBackup streams the state. One that breaks off is cut, and lacks its checksum.
func (n *Node) serveBackup(w http.ResponseWriter, r *http.Request) {
	opts, err := backupOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), backupStart, errBackupStart)
	b, err := n.capture(ctx, opts)
	cancel()
	if err != nil {
		httpError(w, err)
		return
	}
	info := b.Info()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="watchcast-%d.backup"`, info.Revision))
	h.Set(headerBackupCluster, info.Cluster.ID)
	h.Set(headerBackupRevision, strconv.FormatUint(info.Revision, 10))
	h.Set(headerBackupKeys, strconv.Itoa(info.Keys))
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	defer control.SetWriteDeadline(time.Time{}) // fails where the connection is gone
	if err := n.writeBackup(r.Context(), b, &movingWriter{w, control}); err != nil {
		n.log.Warn("a backup was cut short", "remote", r.RemoteAddr, "error", err)
		panic(http.ErrAbortHandler) // so that the end is not taken for the end of the backup
	}
}

// backupOptions reads ?stale and ?min_revision. What cannot be read is refused, since a
// revision that is demanded must not be dropped.
func backupOptions(r *http.Request) ([]ReadOption, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the parameters are malformed: %w; there are stale and min_revision, as in ?stale&min_revision=7", err)
	}
	for name, values := range query {
		if name != "stale" && name != "min_revision" {
			return nil, fmt.Errorf("unknown parameter %q; there are stale and min_revision", name)
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("%s is there %d times; give it once", name, len(values))
		}
	}
	stale := query.Has("stale")
	if text := query.Get("stale"); text != "" {
		if stale, err = strconv.ParseBool(text); err != nil {
			return nil, fmt.Errorf("stale is %q; give true or false, or nothing for true", text)
		}
	}
	if !stale {
		if query.Has("min_revision") {
			return nil, errors.New("min_revision is for stale backups; add stale")
		}
		return nil, nil
	}
	var min uint64
	if query.Has("min_revision") {
		text := query.Get("min_revision")
		if min, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, fmt.Errorf("min_revision is %q; give a revision", text)
		}
	}
	return []ReadOption{Stale(min)}, nil
}

// serveRestore replaces the state of the cluster by the body.
func (n *Node) serveRestore(w http.ResponseWriter, r *http.Request) {
	// Before the body is read, so that who waits for 100-continue need not send it.
	ctx, cancel := context.WithTimeoutCause(r.Context(), backupStart, errBackupStart)
	_, err := n.lead(ctx)
	cancel()
	if err == nil && r.ContentLength > n.config.MaxRestoreBytes {
		err = tooLarge(n.config.MaxRestoreBytes)
	}
	if err != nil {
		httpError(w, err)
		return
	}
	restored, err := n.Restore(r.Context(), &movingReader{r.Body, http.NewResponseController(w)})
	if err != nil {
		n.log.Warn("a backup was not restored", "remote", r.RemoteAddr, "error", err)
		httpError(w, err)
		return
	}
	n.writeJSON(w, http.StatusOK, backupReply{
		Cluster:        restored.Cluster,
		Revision:       restored.Revision,
		Keys:           restored.Backup.Keys,
		BackupCluster:  restored.Backup.Cluster.ID,
		BackupRevision: restored.Backup.Revision,
	})
}

// httpError answers with the code that the same error has over NATS.
func httpError(w http.ResponseWriter, err error) {
	code := int(nats.CodeInternal)
	if e, ok := errors.AsType[*nats.Error](serviceError(err)); ok {
		code = int(e.Code)
	}
	http.Error(w, plain(err), code)
}

// movingWriter gives up a receiver that takes nothing for a while.
type movingWriter struct {
	w       io.Writer
	control *http.ResponseController
}

func (m *movingWriter) Write(b []byte) (int, error) {
	if err := m.control.SetWriteDeadline(time.Now().Add(backupStall)); err != nil {
		return 0, err
	}
	return m.w.Write(b)
}

// movingReader gives up a sender that sends nothing for a while.
type movingReader struct {
	r       io.Reader
	control *http.ResponseController
}

func (m *movingReader) Read(b []byte) (int, error) {
	if err := m.control.SetReadDeadline(time.Now().Add(backupStall)); err != nil {
		return 0, err
	}
	n, err := m.r.Read(b)
	if err != nil { // the end, mostly, after which the server waits for the client to go
		m.control.SetReadDeadline(time.Time{}) // fails where the connection is gone
	}
	return n, err
}
