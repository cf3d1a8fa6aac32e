// Package e2e drives the built binaries from outside, as a user does: the node,
// the subscriber, and the real nats command. Its tests need the path of the nats
// command in NATS_CLI and a build tag: cli for those with plain processes (make
// cli), docker for those with compose.yaml, a Docker engine and the image (make
// e2e).
package e2e
