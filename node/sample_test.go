package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample writes a configuration of docs/operations.md into a file, with what must
// differ here replaced, so that what is documented is what is tried.
func sample(t *testing.T, name string, replace ...string) string {
	t.Helper()
	docs, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(docs), "```conf\n# "+name+"\n")
	text, _, end := strings.Cut(text, "```\n")
	if !ok || !end {
		t.Fatalf("docs/operations.md has no %s", name)
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%s has no %q", name, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
