package command

import (
	"strings"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
)

// commands are in the order of -h.
var commands []command

var waitPeerFlag = Flag{Name: "wait-peer", Value: "D", Text: "wait so long for who is not there yet (default 0)"}

func init() { // an initializer would be a cycle: the functions use the table
	commands = []command{
		{name: "list", usage: "list", text: "who is connected", run: runList},
		{
			name: "whois", usage: "whois NAME",
			text: "who somebody is: certificate, chain and revocation, and what is known here", names: true, run: runWhois,
		},
		{
			name: "send", usage: "send [-wait sent|delivered|read] [-wait-peer D] NAME[,NAME...] [TEXT...]",
			text: "send a message; without TEXT, each line of standard input is one", names: true, run: runSend,
			flags: []Flag{
				{
					Name: "wait", Value: "LEVEL", Words: []string{"sent", "delivered", "read"},
					Text: "how far it must get: sent (the relay has it), delivered (checked and stored by the receiver; the default) or read",
				},
				waitPeerFlag,
			},
		},
		{
			name: "recv", usage: "recv [-n N] [-from NAME] [-for D]", text: "print messages, one a line", run: runRecv,
			flags: []Flag{
				{Name: "n", Value: "N", Text: "end after so many messages"},
				{Name: "from", Value: "NAME", Text: "only from NAME; others stay unread"},
				{Name: "for", Value: "D", Text: "end after so long; with 6 if fewer than -n came"},
			},
		},
		{
			name: "pipe", usage: "pipe [-send|-recv] [-wait-peer D] NAME",
			text: "bytes, both ways unless told, to a pipe of NAME's", names: true, run: runPipe,
			flags: []Flag{{Name: "send", Text: "only from here to there"}, {Name: "recv", Text: "only from there to here"}, waitPeerFlag},
		},
		{
			name: "history", usage: "history [-peer NAME] [-verify] [-export ID]",
			text: "what was said; check all of it; write a proof of one message", run: runHistory,
			flags: []Flag{
				{Name: "peer", Value: "NAME", Text: "only with NAME"},
				{Name: "verify", Text: "check every signature, delegation, chain, order and receipt again"},
				{Name: "export", Value: "ID", Text: "write the message as a proof that stands alone"},
			},
		},
		{name: "verify", usage: "verify FILE... | -", text: "check proofs that history -export wrote", files: true, run: runVerify},
		{name: "card", usage: "card", text: "what is in the reader", run: runCard},
		{name: "crl", usage: "crl [refresh]", text: "the revocation lists at hand; fetch them anew", words: []string{"refresh"}, run: runCRL},
		{
			name: "trust", usage: "trust [accept|forget NAME|HOST:PORT]", text: "the relays and people that are known",
			words: []string{"accept", "forget"}, names: true, run: runTrust,
		},
		{name: "logout", usage: "logout", text: "erase what -keep has stored", run: runLogout},
		{name: "release", usage: "release", text: "give up your name at the relay", run: runRelease},
		{name: "doctor", usage: "doctor", text: "look at all that a connection needs, and say what is missing", run: runDoctor},
		{
			name: "completion", usage: "completion " + strings.Join(shells, "|"),
			text: "a script that completes the command line in a shell", words: shells, run: runCompletion,
		},
	}
}

var globalFlags = []Flag{
	{Name: "relay", Value: "HOST:PORT", Text: "the relay (CHATSECURE_RELAY; default localhost:8080)"},
	{Name: "name", Value: "NAME", Text: "your name (CHATSECURE_NAME)"},
	{
		Name: "card", Value: "CARD", Kind: Dir,
		Text: "a pkcs11: URI, or a directory with a software card (CHATSECURE_CARD; default: the first card found)",
	},
	{Name: "pin-file", Value: "FILE", Text: "the card's PIN is its first line", Kind: File},
	{
		Name: "state", Value: "DIR", Kind: Dir,
		Text: "what is remembered, and the history (CHATSECURE_STATE; default $XDG_STATE_HOME/chatsecure)",
	},
	{Name: "ca-bundle", Value: "FILE", Text: "more trusted roots, and intermediates, in PEM", Kind: File},
	{Name: "crl", Value: "DIR", Text: "revocation lists", Kind: Dir},
	{
		Name: "crl-policy", Value: "P", Words: []string{"try", "require", "off"},
		Text: "try (default): unknown revocation is accepted; require: it is refused; off: nobody looks",
	},
	{Name: "fetch", Value: "=false", Text: "fetch no certificates and revocation lists"},
	{Name: "fetch-private", Text: "fetch from private addresses too"},
	{
		Name: "fingerprint", Value: "HEX",
		Text: "the relay's fingerprint, as relay -fingerprint prints it: no other is taken, and it is remembered where none is known",
	},
	{Name: "accept-new", Text: "accept an unknown relay and unknown people; never changed ones"},
	{Name: "keep", Value: "DURATION", Text: "keep a key for so long (at most 24h): no card is needed"},
	{Name: "key", Value: "KIND", Text: "ed25519 (default) or rsa: the kind of that key", Words: []string{trust.KeyEd25519, trust.KeyRSA}},
	{Name: "ciphers", Value: "LIST", Text: "cipher suites allowed, best first, with commas", Words: crypto.SuiteNames()},
	{Name: "batch", Text: "never ask: what would need a question is refused"},
	{Name: "timeout", Value: "D", Text: "how long to wait for others (default 30s)"},
	{Name: "json", Text: "one JSON object a line"},
	{
		Name: "q",
		Text: "say less on standard error: no notices, not even that messages may be missing or may have been shown before, which -json has",
	},
	{Name: "v", Text: "say more on standard error"},
	{Name: "version", Text: "print the version"},
	{Name: "h", Text: "print this; after a COMMAND, its own options"},
}

// statuses are the exit statuses.
var statuses = []Item{
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

// manpage describes the client.
func manpage() *Program {
	return &Program{
		Name: "client", Brief: "talk to people, or from scripts, under the identity of a smart card",
		Synopsis: []string{"client [options] [COMMAND]"},
		About: []string{"Without COMMAND: a prompt; with piped input the same commands, one a line. Messages are signed and encrypted end " +
			"to end. Nobody who is offline gets them: the relay stores nothing."},
		Source:   "internal/command/usage.go",
		Before:   "Options, which stand before COMMAND (given twice, the last counts):",
		Commands: commands, Flags: globalFlags, Statuses: statuses, SeeAlso: "relay(1), pcscd(8), iconv(1)",
		More: []Section{
			{Title: "cards", Text: []string{
				"CARD is a PKCS#11 URI (RFC 7512), as pkcs11:token=alice?module-path=/usr/lib/softhsm/libsofthsm2.so, or a " +
					"directory with a software card: cert.pem, the certificate first and then its chain, and key.pem, in PKCS#8. " +
					"Without -card it is the first known module with a card in it.",
				"The card signs once: a delegation, of at most 24 hours, to a key that the client makes for itself. The PIN comes " +
					"from a terminal, from -pin-file or from the pin-source of the URI, never from an argument, and a wrong one is " +
					"never tried again.",
			}},
			{Title: "prompt", Items: []Item{
				{Term: "NAME[,NAME...]: TEXT", Text: "Say something to them."},
				{Term: "list", Text: "Who is connected."},
				{Term: "whois NAME", Text: "The certificate of NAME."},
				{Term: "history [NAME]", Text: "What was said, and how far it got."}, {Term: "help, exit", Text: "What there is; leave."},
			}},
			{Title: "output", Text: []string{
				"Standard output has data only, and standard error all that is said to a person. A message is one line: from: " +
					"text, or [from → to] from: text for several recipients. Control, bidi and zero-width characters and newlines are " +
					"made visible; only -json and pipe are exact. A pipe shows bytes, rate and time on standard error where that is a " +
					"terminal, and what it carries is not there.",
				"With -json each line is one object with v (1), type, time (RFC 3339, UTC) and the fields of its type, which are " +
					"those of the JSON Schema in doc/schema.json. What goes online begins with connected, and sent stands before that " +
					"message's receipts.",
			}},
			{Title: "environment", Items: []Item{
				{Term: "CHATSECURE_RELAY, CHATSECURE_NAME, CHATSECURE_CARD, CHATSECURE_STATE",
					Text: "Used where -relay, -name, -card and -state are not given."},
				{Term: "XDG_STATE_HOME", Text: "Where chatsecure is the state directory; without it, ~/.local/state."},
			}},
			{Title: "files", Text: []string{"Of the state directory, which belongs to one name:"}, Items: []Item{
				{Term: "known_relays, known_peers", Text: "The relays and people that are known. client trust shows and changes them."},
				{Term: "kept", Text: "What -keep has stored. client logout erases it."},
				{Term: "history/", Text: "What was said, as plain text, with what proves it. Nothing is ever deleted from it by itself."},
				{Term: "crls/, issuers/", Text: "Revocation lists and certificates that were fetched."},
			}},
		},
	}
}

// usage returns the text of -h.
func usage() string { return manpage().Help() }
