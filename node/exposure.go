package node

// unsecured says what an address lacks before others may reach it without the
// operator's word, and what would mend that; empty if it lacks nothing.
func (c *Config) unsecured(field string) (missing, mend string) {
	switch {
	case field == "NATS" && !c.clients.hasUsers():
		return "clients need no credentials", "NATSConfig with users"
	case field == "Routes" && !c.clients.securesRoutes():
		return "what the brokers send each other, ClusterSecret too, is not encrypted", "NATSConfig with tls for cluster"
	case field == "Raft" && !c.RaftTLS.on():
		return "Raft traffic is not encrypted", "RaftTLS"
	case field == "HTTP" && c.HTTPTokenFile == "":
		return "clients need no token", "HTTPTokenFile"
	}
	return "", ""
}
