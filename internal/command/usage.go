package command

import (
	"context"
	"flag"
	"strings"
)

// command is a command of the client.
type command struct {
	name  string
	flags func(f *flag.FlagSet) runner // adds the flags of its own, which set the runner's options
	args  string                       // its options and arguments, as usage shows them
	about string                       // what it does
	more  string                       // the rest of the text of -h after it
}

// help is the text of -h after the command.
func (c command) help() string {
	return "usage: client [options] " + strings.TrimRight(c.name+" "+c.args, " ") + "\n\n" +
		strings.ToUpper(c.about[:1]) + c.about[1:] + ".\n" + c.more
}

// runner runs a command with the arguments after its flags.
type runner = func(a *app, ctx context.Context, args []string) error

// plain is for a command without flags.
func plain(run runner) func(*flag.FlagSet) runner {
	return func(*flag.FlagSet) runner { return run }
}

// alone is for a command that takes no arguments.
func alone(run func(*app, context.Context) error) func(*flag.FlagSet) runner {
	return func(f *flag.FlagSet) runner {
		return func(a *app, ctx context.Context, args []string) error {
			if len(args) > 0 {
				return usageError("%s takes no argument, but there is %q", f.Name(), args[0])
			}
			return run(a, ctx)
		}
	}
}

// usage is the text of -h. doc/client.1 and the scripts in completion say the same.
var usage = func() string {
	text := usageHead
	for _, c := range commands {
		line := "  " + strings.Join(strings.Fields(c.name+" "+c.args), " ")
		if len(line) >= 80 {
			line = "  " + c.name + " " + c.args
		}
		text += line + strings.ReplaceAll("\n"+c.about, "\n", "\n        ") + "\n"
	}
	return text + usageTail
}()

const usageHead = `usage: client [options] [COMMAND]

Without COMMAND: a prompt; with piped input what is typed there, one a line.
Messages are signed and encrypted end to end. For people who are away the relay
keeps them for some days, sealed to the person's own device.

Commands:
`

const usageTail = `
Options, which stand before COMMAND (given twice, the last counts; in a path ~
is your home directory):
  -relay HOST:PORT     the relay (default localhost:8080)
  -name NAME           your name (default: the state directory's)
  -card CARD           a pkcs11: URI, or a directory with a software card
                       (default: the first card found)
  -pin-file FILE       the card's PIN is its first line
  -state DIR           what is remembered, and the history (default
                       $XDG_STATE_HOME/chatsecure)
  -ca-bundle FILE      more trusted roots, and intermediates, in PEM
  -only-ca FILE        these roots and no others
  -crl DIR             revocation lists
  -crl-policy P        try (default): unknown revocation is accepted; require:
                       it is refused; off: nobody looks
  -fetch=false         fetch no certificates and revocation lists
  -fetch-private       fetch from private addresses too
  -fingerprint HEX     the relay's fingerprint, as relay -fingerprint prints
                       it: no other is taken, and it is remembered where none
                       is known
  -accept-new          accept an unknown relay and unknown people; never
                       changed ones
  -keep DURATION       keep a key for so long (at most 24h): no card is needed
  -key KIND            ed25519 (default) or rsa: the kind of that key
  -ciphers LIST        cipher suites allowed, best first, with commas
  -letters=false       name no mailbox to the relay, and collect no letters
  -batch               never ask: a step that needs a question is refused
  -timeout D           how long to wait for others, or for a relay that is busy
                       (default 30s)
  -prompt LOOK         short (default) or long: the prompt with the time and
                       your name
  -bell                ring at every message at the prompt, not only while the
                       terminal lacks the focus
  -json                one JSON object a line
  -q                   say less on standard error: no notices but the reason
                       of status 9, not even that messages may be missing or
                       may have been shown before, which -json has
  -v                   say more on standard error
  -version             print the version
  -h                   print this; after a COMMAND, its own options

Every option, a command's too, may also stand in the environment, as
CHATSECURE_ONLY_CA=FILE, or on a line of DIR/config, as only-ca FILE. The
command line counts first, then the environment, then the file. The name
of a state directory that was connected before comes before the last two.
A variable CHATSECURE_... of no option is refused.

Exit status: 0 done, to the level that -wait asked, for all recipients; 1
another failure; 2 usage; 3 the relay cannot be reached, or was lost; 4 relay,
identity, certificate or revocation refused, no common suite, name taken; 5
card or PIN, or the key is not the certificate's; 6 not delivered in time, or
nobody by that name; 7 some recipients only; 8 a signature, decryption or
verification failed; 9 the relay keeps it for somebody who is not there; 130,
143 ended by SIGINT or SIGTERM.
`

// commands are in the order of -h.
var commands = []command{
	{"init", alone(runInit), "",
		"write the options given, and answers to questions, into DIR/config", `
DIR is the state directory. At a terminal it asks for relay, name and card
where they are not given, and checks each; -batch asks nothing. A card that no
trusted root leads to is told, and its root is asked for. Paths become
absolute. A file that is there keeps its other lines; an empty value takes a
line away.
-batch, -json, -q and -v are for init itself.
`},
	{"list", alone(runList), "", "the connected people", ""},
	{"whois", plain(runWhois), "NAME",
		"the identity of a person and, once you have talked, the certificate", ""},
	{"send", func(f *flag.FlagSet) runner { return new(sendOptions).flags(f) },
		`[-wait sent|delivered|read] [-wait-peer D]
              [-live] [-0] NAME[,NAME...] [TEXT...]`,
		"send a message; without TEXT, each line of standard input is one", `
  -wait LEVEL          how far it must get: sent (the relay has it), delivered
                       (checked and stored by the receiver; the default) or
                       read
  -wait-peer D         wait until they connect, at most D (default 0)
  -live                only to people who are there: the relay keeps nothing
  -0                   messages on standard input end with a NUL instead of a
                       newline, so that they can have lines
`},
	{"recv", func(f *flag.FlagSet) runner { return new(recvOptions).flags(f) },
		"[-n N] [-from NAME] [-from-anyone] [-for D] [-0]",
		"print messages of people who are accepted, one a line", `
  -n N                 end after so many messages
  -from NAME           only from NAME; others stay unread
  -from-anyone         also from people who are not accepted
  -for D               end after so long; with 6 if fewer than -n came
  -0                   for each the name, a tab, the exact text and a NUL
`},
	{"pipe", func(f *flag.FlagSet) runner { return new(pipeOptions).flags(f) },
		"[-send|-recv] [-wait-peer D] NAME", "bytes, both ways unless told, to a pipe of NAME's", `
  -send                only from here to there
  -recv                only from there to here
  -wait-peer D         wait until they connect, at most D (default 0)
`},
	{"history", func(f *flag.FlagSet) runner { return new(historyOptions).flags(f) },
		`[-peer NAME] [-n N] [-since WHEN]
              [-grep TEXT] [-ids] [-verify] [-export ID] [NAME [N]]`,
		"the messages; check all of it; write a proof of one message", `
  -peer NAME           only with NAME
  -n N                 the last N (default 50), and all with 0
  -since WHEN          since a day as 2026-11-30, a time as 18:00, or for the
                       last 90m or 2d
  -grep TEXT           only with TEXT in them, whatever its case
  -ids                 with the ids, as -v and -json
  -verify              check every signature, delegation, chain, order and
                       receipt again
  -export ID           write the message as a proof that stands alone
`},
	{"verify", plain(runVerify), "FILE... | -", "check proofs that history -export wrote", ""},
	{"card", alone(runCard), "", "the tokens, certificates and keys in the reader", ""},
	{"crl", plain(runCRL), "[refresh]", "the revocation lists at hand; fetch your own anew", `
refresh fetches the lists about your own certificate at once, and other
people's when you next meet them.
`},
	{"trust", plain(runTrust), `[accept NAME IDENTITY |
              block|unblock NAME [IDENTITY] | forget NAME]`,
		"the relays and people that are known; a relay is HOST:PORT FINGERPRINT", `
accept takes a whole identity, which you have compared by another way; the
person need not have been met. block is for one identity, under every name:
the one that NAME is known for, unless another is given, as that of somebody
who uses the name of a friend. Nobody else gets a name of the blocked without
accept, until forget.
`},
	{"logout", alone(runLogout), "", "erase the key that -keep has stored", ""},
	{"release", func(f *flag.FlagSet) runner { return new(releaseOptions).flags(f) },
		"[-mailbox HASH|list]", "give up your name at the relay", `
  -mailbox HASH        instead, drop the mailbox of a lost device of yours, and
                       the letters in it

-mailbox list shows the mailboxes to which letters to you go, as the relay
tells of them: whether each is this device's, and when its device last named
it. That of a lost device is another's.
`},
	{"doctor", alone(runDoctor), "", `check the needs of a connection, and name what is missing; only a
connection shows whether the relay lets you in`, ""},
	{"completion", plain(runCompletion), "bash|zsh|fish",
		"a script that completes the command line in a shell", ""},
	{"help", plain(runHelp), "[COMMAND]", "this, or a command with its options, as COMMAND -h", ""},
}
