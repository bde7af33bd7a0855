package main

import (
	"context"
	"strings"

	"chatsecure/cmd/internal/manual"
	"chatsecure/crypto"
)

// command is one command of the command line. It reads its own flags.
type command struct {
	manual.Command
	run func(a *app, ctx context.Context, args []string) error
}

// commands is the table of them, in the order of -h. From it and the rest of
// the manual come -h, client(1) and the completion of shells.
var commands []command

var waitPeerFlag = manual.Flag{Name: "wait-peer", Value: "D", Text: "wait so long for who is not there yet (default 0)"}

func init() { // a table of functions that lead back to it cannot be a plain initializer
	commands = []command{
		{manual.Command{Name: "list", Usage: "list", Text: "who is connected"}, runList},
		{manual.Command{Name: "whois", Usage: "whois NAME", Text: "who somebody is: certificate, chain and revocation, and what is known here", Names: true}, runWhois},
		{manual.Command{
			Name: "send", Usage: "send [-wait sent|delivered|read] [-wait-peer D] NAME[,NAME...] [TEXT...]",
			Text: "send a message; without TEXT, each line of standard input is one", Names: true,
			Flags: []manual.Flag{
				{Name: "wait", Value: "LEVEL", Text: "how far it must get: sent (the relay has it), delivered (checked and stored by the receiver; the default) or read", Words: []string{"sent", "delivered", "read"}},
				waitPeerFlag,
			},
		}, runSend},
		{manual.Command{
			Name: "recv", Usage: "recv [-n N] [-from NAME] [-for D]", Text: "print messages, one a line",
			Flags: []manual.Flag{
				{Name: "n", Value: "N", Text: "end after so many messages"},
				{Name: "from", Value: "NAME", Text: "only from NAME; others stay unread"},
				{Name: "for", Value: "D", Text: "end after so long; with 6 if fewer than -n came"},
			},
		}, runRecv},
		{manual.Command{
			Name: "pipe", Usage: "pipe [-send|-recv] [-wait-peer D] NAME", Text: "bytes, both ways unless told, to a pipe of NAME's", Names: true,
			Flags: []manual.Flag{{Name: "send", Text: "only from here to there"}, {Name: "recv", Text: "only from there to here"}, waitPeerFlag},
		}, runPipe},
		{manual.Command{
			Name: "history", Usage: "history [-peer NAME] [-verify] [-export ID]", Text: "what was said; check all of it; write a proof of one message",
			Flags: []manual.Flag{
				{Name: "peer", Value: "NAME", Text: "only with NAME"},
				{Name: "verify", Text: "check every signature, delegation, chain, order and receipt again"},
				{Name: "export", Value: "ID", Text: "write the message as a proof that stands alone"},
			},
		}, runHistory},
		{manual.Command{Name: "verify", Usage: "verify FILE... | -", Text: "check proofs that history -export wrote", Files: true}, runVerify},
		{manual.Command{Name: "card", Usage: "card", Text: "what is in the reader"}, runCard},
		{manual.Command{Name: "crl", Usage: "crl [refresh]", Text: "the revocation lists at hand; fetch them anew", Words: []string{"refresh"}}, runCRL},
		{manual.Command{Name: "trust", Usage: "trust [accept|forget NAME|HOST:PORT]", Text: "the relays and people that are known", Words: []string{"accept", "forget"}, Names: true}, runTrust},
		{manual.Command{Name: "logout", Usage: "logout", Text: "erase what -keep has stored"}, runLogout},
		{manual.Command{Name: "release", Usage: "release", Text: "give up your name at the relay"}, runRelease},
		{manual.Command{Name: "doctor", Usage: "doctor", Text: "look at all that a connection needs, and say what is missing"}, runDoctor},
		{manual.Command{Name: "completion", Usage: "completion " + strings.Join(manual.Shells, "|"), Text: "a script that completes the command line in a shell", Words: manual.Shells}, runCompletion},
	}
}

var globalFlags = []manual.Flag{
	{Name: "relay", Value: "HOST:PORT", Text: "the relay (CHATSECURE_RELAY; default localhost:8080)"},
	{Name: "name", Value: "NAME", Text: "your name (CHATSECURE_NAME)"},
	{Name: "card", Value: "CARD", Text: "a pkcs11: URI, or a directory with a software card (CHATSECURE_CARD; default: the first card found)", Kind: manual.Dir},
	{Name: "pin-file", Value: "FILE", Text: "the card's PIN is its first line", Kind: manual.File},
	{Name: "state", Value: "DIR", Text: "what is remembered, and the history (CHATSECURE_STATE; default $XDG_STATE_HOME/chatsecure)", Kind: manual.Dir},
	{Name: "ca-bundle", Value: "FILE", Text: "more trusted roots, and intermediates, in PEM", Kind: manual.File},
	{Name: "crl", Value: "DIR", Text: "revocation lists", Kind: manual.Dir},
	{Name: "crl-policy", Value: "P", Text: "try (default): unknown revocation is accepted; require: it is refused; off: nobody looks", Words: []string{"try", "require", "off"}},
	{Name: "fetch", Value: "=false", Text: "fetch no certificates and revocation lists"},
	{Name: "fetch-private", Text: "fetch from private addresses too"},
	{Name: "fingerprint", Value: "HEX", Text: "the relay's fingerprint, as relay -fingerprint prints it: no other is taken, and it is remembered where none is known"},
	{Name: "accept-new", Text: "accept an unknown relay and unknown people; never changed ones"},
	{Name: "keep", Value: "DURATION", Text: "keep a key for so long (at most 24h): no card is needed"},
	{Name: "key", Value: "KIND", Text: "ed25519 (default) or rsa: the kind of that key", Words: []string{crypto.KeyEd25519, crypto.KeyRSA}},
	{Name: "ciphers", Value: "LIST", Text: "cipher suites allowed, best first, with commas", Words: crypto.SuiteNames()},
	{Name: "batch", Text: "never ask: what would need a question is refused"},
	{Name: "timeout", Value: "D", Text: "how long to wait for others (default 30s)"},
	{Name: "json", Text: "one JSON object a line"},
	{Name: "q", Text: "say less on standard error: no notices, not even that messages may be missing or may have been shown before, which -json has"},
	{Name: "v", Text: "say more on standard error"},
	{Name: "version", Text: "print the version"},
	{Name: "h", Text: "print this; after a COMMAND, its own options"},
}

// statuses is the table of exit statuses.
var statuses = []manual.Item{
	{Term: "0", Text: "done, to the level that -wait asked, for all recipients"},
	{Term: "1", Text: "another failure"},
	{Term: "2", Text: "usage"},
	{Term: "3", Text: "the relay cannot be reached, or was lost"},
	{Term: "4", Text: "relay, identity, certificate or revocation refused, no common suite, name taken"},
	{Term: "5", Text: "card or PIN, or the key is not the certificate's"},
	{Term: "6", Text: "not delivered in time, or nobody by that name"},
	{Term: "7", Text: "some recipients only"},
	{Term: "8", Text: "a signature, decryption or verification failed"},
	{Term: "130, 143", Text: "ended by SIGINT or SIGTERM"},
}

// manpage is all that people read about this program.
func manpage() *manual.Program {
	p := &manual.Program{
		Name: "client", Brief: "talk to people, or from scripts, under the identity of a smart card",
		Synopsis: []string{"client [options] [COMMAND]"},
		About:    []string{"Without COMMAND: a prompt; with piped input the same commands, one a line. Messages are signed and encrypted end to end. Nobody who is offline gets them: the relay stores nothing."},
		Before:   "Options, which stand before COMMAND (given twice, the last counts):",
		Flags:    globalFlags, Statuses: statuses, SeeAlso: "relay(1), pcscd(8), iconv(1)",
		More: []manual.Section{
			{Title: "cards", Text: []string{
				"CARD is a PKCS#11 URI (RFC 7512), as pkcs11:token=alice?module-path=/usr/lib/softhsm/libsofthsm2.so, or a directory with a software card: cert.pem, the certificate first and then its chain, and key.pem, in PKCS#8. Without -card it is the first known module with a card in it.",
				"The card signs once: a delegation, of at most 24 hours, to a key that the client makes for itself. The PIN comes from a terminal, from -pin-file or from the pin-source of the URI, never from an argument, and a wrong one is never tried again.",
			}},
			{Title: "prompt", Items: []manual.Item{
				{Term: "NAME[,NAME...]: TEXT", Text: "Say something to them."}, {Term: "list", Text: "Who is connected."}, {Term: "whois NAME", Text: "The certificate of NAME."},
				{Term: "history [NAME]", Text: "What was said, and how far it got."}, {Term: "help, exit", Text: "What there is; leave."},
			}},
			{Title: "output", Text: []string{
				"Standard output has data only, and standard error all that is said to a person. A message is one line: from: text, or [from → to] from: text for several recipients. Control, bidi and zero-width characters and newlines are made visible; only -json and pipe are exact. A pipe shows bytes, rate and time on standard error where that is a terminal, and what it carries is not there.",
				"With -json each line is one object with v (1), type, time (RFC 3339, UTC) and the fields of its type, which are those of the JSON Schema in cmd/client/testdata/schema.json. What goes online begins with connected, and sent stands before that message's receipts.",
			}},
			{Title: "environment", Items: []manual.Item{
				{Term: "CHATSECURE_RELAY, CHATSECURE_NAME, CHATSECURE_CARD, CHATSECURE_STATE", Text: "Used where -relay, -name, -card and -state are not given."},
				{Term: "XDG_STATE_HOME", Text: "Where chatsecure is the state directory; without it, ~/.local/state."},
			}},
			{Title: "files", Text: []string{"Of the state directory, which belongs to one name:"}, Items: []manual.Item{
				{Term: "known_relays, known_peers", Text: "The relays and people that are known. client trust shows and changes them."},
				{Term: "kept", Text: "What -keep has stored. client logout erases it."},
				{Term: "history/", Text: "What was said, as plain text, with what proves it. Nothing is ever deleted from it by itself."},
				{Term: "crls/, issuers/", Text: "Revocation lists and certificates that were fetched."},
			}},
		},
	}
	for _, c := range commands {
		p.Commands = append(p.Commands, c.Command)
	}
	return p
}

// usage is what -h prints.
func usage() string { return manpage().Help() }

// runCompletion needs neither relay nor card nor state.
func runCompletion(a *app, _ context.Context, args []string) error {
	f := newFlags("completion")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	if f.NArg() != 1 || manpage().Completion(f.Arg(0)) == "" {
		return usageError("completion needs one shell: %s", strings.Join(manual.Shells, ", "))
	}
	a.out.text(manpage().Completion(f.Arg(0)))
	return nil
}
