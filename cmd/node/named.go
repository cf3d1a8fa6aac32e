package main

import (
	"regexp"
	"slices"
	"strings"
)

// fieldFlags are the flags behind the fields of a node's configuration, by which package
// node names what is wrong.
var fieldFlags = map[string]string{
	"ID":                 "--id",
	"DataDir":            "--data",
	"InMemory":           "--dev",
	"NATS":               "--nats",
	"NATSConfig":         "--nats-config",
	"MaxPayload":         "--max-payload",
	"NATSURL":            "--nats-url",
	"NATSLogin":          "--nats-creds, --nats-nkey",
	"NATSPublisherURL":   "--nats-publisher-url",
	"NATSPublisherLogin": "--nats-publisher-creds, --nats-publisher-nkey",
	"NATSTLS":            "--nats-tlscert, --nats-tlskey, --nats-tlsca",
	"Peers":              "--peers",
	"Raft":               "--raft",
	"RaftAdvertise":      "--raft-advertise",
	"RaftTLS":            "--raft-cert, --raft-key, --raft-ca",
	"Join":               "--join",
	"JoinCA":             "--join-ca",
	"Nonvoter":           "--nonvoter",
	"Routes":             "--routes",
	"JoinRoutes":         "--join-routes",
	"ClusterSecret":      "--cluster-secret",
	"ElectionTimeout":    "--election-timeout",
	"Insecure":           "--insecure",
	"HTTP":               "--http",
	"HTTPTLS":            "--http-tls-cert, --http-tls-key",
	"HTTPTokenFile":      "--http-token-file",
	"MaxLogBytes":        "--max-log-bytes",
	"MaxRestoreBytes":    "--max-restore-bytes",

	"RingOptions.Slots":                  "--ring-events",
	"RingOptions.MaxBytes":               "--ring-bytes",
	"RegistryOptions.MaxWatchers":        "--max-watchers",
	"RegistryOptions.Buffer":             "--watch-buffer",
	"DispatcherOptions.ProgressInterval": "--progress-interval",
}

var (
	fieldName = regexp.MustCompile(`(?:^|[ (])([A-Z]\w+(?:\.[A-Z]\w+)?)`)
	quoted    = regexp.MustCompile(`"[^"]*"`)
	// Words, too, unless the text is about them: it begins with the field then.
	alsoWords = []string{"NATS", "Raft", "HTTP"}
)

// named adds to an error of a node's configuration the flags of the fields it speaks of.
func named(text string) string {
	_, about, _ := strings.Cut(text, "bad configuration: ")
	var flags []string
	for i, match := range fieldName.FindAllStringSubmatch(quoted.ReplaceAllString(about, ""), -1) {
		flag, ok := fieldFlags[match[1]]
		aWord := slices.Contains(alsoWords, match[1]) && (i > 0 || !strings.HasPrefix(about, match[1]))
		if ok && !aWord && !slices.Contains(flags, flag) {
			flags = append(flags, flag)
		}
	}
	if len(flags) == 0 {
		return text
	}
	return text + " (" + strings.Join(flags, ", ") + ")"
}
