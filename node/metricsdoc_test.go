package node

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMetricsAreDocumented: docs/metrics.md has the metrics that there are, and no others.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	config := serving(t)
	config.DetailedMetrics = true
	_, body := fetch(t, "GET", lead(t, config).HTTPURL()+"/metrics")
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := func(pattern, text string) []string {
		found := make(map[string]bool)
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found[match[1]] = true
		}
		return slices.Sorted(maps.Keys(found))
	}
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		if !strings.Contains(body, "\n"+name+" ") {
			t.Errorf("there is no %s", name)
		}
	}
	there, documented := names(`(?m)^# TYPE (watchcast_\w+)`, body), names("`(watchcast_\\w+)`", string(page))
	if !slices.Equal(there, documented) {
		t.Errorf("there are %q; documented are %q", there, documented)
	}
}

// TestStatusIsDocumented: the same of /v1/status, of a node that leads.
func TestStatusIsDocumented(t *testing.T) {
	t.Parallel()
	_, body := fetch(t, "GET", lead(t, serving(t)).HTTPURL()+"/v1/status")
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var status map[string]any
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Status\n")
	for name, value := range status {
		row := regexp.MustCompile("(?m)^\\| [^|]*`" + name + "`.*$").FindString(section)
		if row == "" {
			t.Errorf("%s is not documented", name)
		}
		parts, _ := value.(map[string]any)
		for part := range parts {
			if !strings.Contains(row, "`"+part+"`") {
				t.Errorf("%s in %s is not documented", part, name)
			}
		}
	}
	documented := regexp.MustCompile("`(\\w+)`")
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]*) \|`).FindAllStringSubmatch(section, -1) {
		for _, name := range documented.FindAllStringSubmatch(row[1], -1) {
			if _, ok := status[name[1]]; !ok {
				t.Errorf("%s is documented, and not there", name[1])
			}
		}
	}
}
