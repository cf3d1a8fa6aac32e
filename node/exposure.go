package node

// unsecured says what an address lacks before others may reach it without the
// operator's word, and which field would mend that, with what in it; empty if it lacks
// nothing.
func (c *Config) unsecured(of field) (missing string, mend field, which string) {
	switch {
	case of == "NATS" && !c.clients.hasUsers():
		return "clients need no credentials", "NATSConfig", " with users"
	case of == "Routes" && !c.clients.securesRoutes():
		return "what the brokers send each other, ClusterSecret too, is not encrypted", "NATSConfig", " with tls for cluster"
	case of == "Raft" && !c.RaftTLS.on():
		return "Raft traffic is not encrypted", "RaftTLS", ""
	case of == "HTTP" && c.HTTPTokenFile == "":
		return "clients need no token", "HTTPTokenFile", ""
	}
	return "", "", ""
}
