package node

import (
	"os"
	"path/filepath"
	"strings"
)

// named returns the paths of what lies in a directory and has a name that begins and ends
// so. It takes no pattern, because a pattern would take the directory's own name for one.
func named(dir, prefix, suffix string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, err
}
