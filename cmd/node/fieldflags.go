package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/watchcast/watchcast/node"
)

// fieldFlags are the flags behind the fields of a node's configuration, as a
// [node.ConfigError] has them.
var fieldFlags = map[string]string{
	"ID":                 "--id",
	"DataDir":            "--data",
	"InMemory":           "--dev",
	"NATS":               "--nats",
	"NATSConfig":         "--nats-config",
	"MaxPayload":         "--max-payload",
	"MaxClients":         "--max-clients",
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
	"Subjects":           "--watch-root, --kv-root",
	"MaxLogBytes":        "--max-log-bytes",
	"MaxRestoreBytes":    "--max-restore-bytes",

	"RingOptions.Slots":                  "--ring-events",
	"RingOptions.MaxBytes":               "--ring-bytes",
	"RegistryOptions.MaxWatchers":        "--max-watchers",
	"RegistryOptions.Buffer":             "--watch-buffer",
	"DispatcherOptions.ProgressInterval": "--progress-interval",
}

// flagsOf returns the flags of the fields that an error of a node's configuration is
// about, in brackets behind a blank; empty if there are none.
func flagsOf(err error) string {
	bad, ok := errors.AsType[*node.ConfigError](err)
	if !ok {
		return ""
	}
	var flags []string
	for _, field := range bad.Fields {
		if flag, ok := fieldFlags[field]; ok && !slices.Contains(flags, flag) {
			flags = append(flags, flag)
		}
	}
	if len(flags) == 0 {
		return ""
	}
	return " (" + strings.Join(flags, ", ") + ")"
}
