package main

import (
	"strconv"
	"strings"

	"chatsecure"
	"chatsecure/cmd/internal/manual"
)

var flags = []manual.Flag{
	{Name: "listen", Value: "ADDR", Text: "address to listen on (default :8080)"},
	{Name: "state", Value: "DIR", Text: "the relay's key and names (default $XDG_STATE_HOME/chatsecure/relay)", Kind: manual.Dir},
	{Name: "ca-bundle", Value: "FILE", Text: "more trusted roots, and intermediates, in PEM", Kind: manual.File},
	{Name: "crl", Value: "DIR", Text: "revocation lists, looked at again when they change", Kind: manual.Dir},
	{Name: "crl-policy", Value: "P", Text: "try (default): unknown revocation is accepted; require: it is refused; off: nobody looks", Words: []string{"try", "require", "off"}},
	{Name: "fetch", Value: "=false", Text: "fetch no revocation lists"},
	{Name: "fetch-private", Text: "fetch from private addresses too"},
	{Name: "ciphers", Value: "LIST", Text: "cipher suites allowed, with commas (default " + strings.Join(chatsecure.RelayCiphers(), ",") + ")"},
	{Name: "max-conns", Value: "N", Text: "connections at once (default " + strconv.Itoa(chatsecure.DefaultMaxConns) + ")"},
	{Name: "addr-file", Value: "FILE", Text: "file that gets host:port once the relay listens", Kind: manual.File},
	{Name: "log", Value: "FORMAT", Text: "text (default) or json, on standard error", Words: []string{"text", "json"}},
	{Name: "v", Text: "log more"},
	{Name: "fingerprint", Text: "print the fingerprint of the relay's key, made if need be"},
	{Name: "version", Text: "print the version"},
	{Name: "h", Text: "print this"},
}

// manpage is all that people read about this program.
func manpage() *manual.Program {
	return &manual.Program{
		Name: "relay", Brief: "pass messages between ChatSecure clients",
		Synopsis: []string{"relay [-listen ADDR] [-state DIR] [options]", "relay -fingerprint [-state DIR]"},
		About: []string{
			"Passes messages between clients. What they say is encrypted end to end; the relay knows who talks to whom, and when. It stores no message.",
		},
		Before: "Options (given twice, the last counts):", Flags: flags,
		Statuses: []manual.Item{{Term: "0", Text: "done, or ended by SIGTERM or SIGINT"}, {Term: "1", Text: "a failure"}, {Term: "2", Text: "usage"}},
		SeeAlso:  "client(1), systemd.exec(5)",
		More: []manual.Section{
			{Title: "signals", Items: []manual.Item{
				{Term: "SIGTERM, SIGINT", Text: "Clients are told, and the relay ends."},
				{Term: "SIGHUP", Text: "The CA bundle and the revocation lists are read again, and every connection is checked again."},
			}},
			{Title: "log", Text: []string{"One line when a connection comes, with what is known of its revocation, and one when it ends, on standard error: no text of a message, and no civil number."}},
			{Title: "files", Items: []manual.Item{
				{Term: "relay.key", Text: "In the state directory: the key whose fingerprint clients know. Whoever has it can be the relay."},
				{Term: "chatsecure-relay.service", Text: "A hardened unit for systemd, in doc of the source."},
			}},
		},
	}
}
