package main

import (
	"context"
	"strings"
)

// command is one command of the command line. It reads its own flags.
type command struct {
	name  string
	usage string // as -h has it
	help  string
	run   func(a *app, ctx context.Context, args []string) error
}

// commands is the table of them, in the order of -h.
var commands []command

func init() { // a table of functions that lead back to it cannot be a plain initializer
	commands = []command{
		{"list", "list", "who is connected", runList},
		{"whois", "whois NAME", "who somebody is: the card's certificate", runWhois},
		{"send", "send [-wait sent|delivered|read] [-wait-peer D] NAME[,NAME...] [TEXT...]",
			"send a message; without TEXT, each line of standard input is one", runSend},
		{"recv", "recv [-n N] [-from NAME] [-for D]", "print messages, one a line", runRecv},
		{"pipe", "pipe [-send|-recv] [-wait-peer D] NAME", "bytes, both ways unless told, to a pipe of NAME's", runPipe},
		{"history", "history [-peer NAME] [-verify] [-export ID]", "what was said; check all of it; write a proof of one message", runHistory},
		{"verify", "verify FILE... | -", "check proofs that history -export wrote", runVerify},
		{"card", "card", "what is in the reader", runCard},
		{"crl", "crl [refresh]", "the revocation lists at hand; fetch them anew", runCRL},
		{"trust", "trust [accept|forget NAME|HOST:PORT]", "the relays and people that are known", runTrust},
		{"logout", "logout", "erase what -keep has stored", runLogout},
		{"doctor", "doctor", "look at all that a connection needs, and say what is missing", runDoctor},
		{"release", "release", "give up your name at the relay", runRelease},
	}
}

const usageFlags = `Options, which stand before COMMAND (given twice, the last counts):
  -relay HOST:PORT     the relay (CHATSECURE_RELAY; default localhost:8080)
  -name NAME           your name (CHATSECURE_NAME)
  -card CARD           pkcs11: URI, or a directory with a software card
                       (CHATSECURE_CARD; default: the first card found)
  -pin-file FILE       the card's PIN is its first line
  -state DIR           what is remembered, and the history (CHATSECURE_STATE;
                       default $XDG_STATE_HOME/chatsecure)
  -ca-bundle FILE      more trusted roots, and intermediates, in PEM
  -crl DIR             revocation lists
  -crl-policy P        try (default): unknown revocation is accepted; require:
                       it is refused; off: nobody looks
  -fetch=false         fetch no certificates and revocation lists
  -fetch-private       fetch from private addresses too
  -fingerprint HEX     the relay's fingerprint, as relay -fingerprint prints it
  -accept-new          accept an unknown relay and unknown people; never changed
  -keep DURATION       keep a key for so long (at most 24h): no card is needed
  -key ed25519|rsa     the kind of that key (default ed25519)
  -ciphers LIST        cipher suites allowed, best first, with commas
  -batch               never ask
  -timeout D           how long to wait for others (default 30s)
  -json                one JSON object a line
  -q, -v               say less, say more, on standard error
  -version, -h

Exit status: 0 done, 1 failed, 2 usage, 3 relay unreachable or lost, 4 relay,
identity, certificate or name refused, 5 card or PIN, 6 not delivered, 7 to some
only, 8 a signature or verification failed, 130 and 143 interrupted.
`

// usage is what -h prints.
func usage() string {
	var b strings.Builder
	b.WriteString("usage: client [options] [COMMAND]\n\nWithout COMMAND: a prompt; with piped input the same commands, one a line.\n\nCommands:\n")
	for _, c := range commands {
		b.WriteString("  " + c.usage + "\n        " + c.help + "\n")
	}
	b.WriteString("\n" + usageFlags)
	return b.String()
}
