# fish completion for client: client completion fish | source
complete -c client -f
complete -c client -n __fish_use_subcommand -o relay -d 'the relay (default localhost:8080)' -x
complete -c client -n __fish_use_subcommand -o name -d 'your name (default: the state directory\'s)' -x
complete -c client -n __fish_use_subcommand -o card -d 'a pkcs11: URI, or a directory with a software card (default: the first card found)' -r -F
complete -c client -n __fish_use_subcommand -o pin-file -d 'the card\'s PIN is its first line' -r -F
complete -c client -n __fish_use_subcommand -o state -d 'what is remembered, and the history (default $XDG_STATE_HOME/chatsecure)' -r -F
complete -c client -n __fish_use_subcommand -o ca-bundle -d 'more trusted roots, and intermediates, in PEM' -r -F
complete -c client -n __fish_use_subcommand -o only-ca -d 'these roots and no others' -r -F
complete -c client -n __fish_use_subcommand -o crl -d 'revocation lists' -r -F
complete -c client -n __fish_use_subcommand -o crl-policy -d 'try (default): unknown revocation is accepted; require: it is refused; off: nobody looks' -x -a 'try require off'
complete -c client -n __fish_use_subcommand -o fetch -d 'fetch no certificates and revocation lists'
complete -c client -n __fish_use_subcommand -o fetch-private -d 'fetch from private addresses too'
complete -c client -n __fish_use_subcommand -o fingerprint -d 'the relay\'s fingerprint, as relay -fingerprint prints it: no other is taken, and it is remembered where none is known' -x
complete -c client -n __fish_use_subcommand -o accept-new -d 'accept an unknown relay and unknown people; never changed ones'
complete -c client -n __fish_use_subcommand -o keep -d 'keep a key for so long (at most 24h): no card is needed' -x
complete -c client -n __fish_use_subcommand -o key -d 'ed25519 (default) or rsa: the kind of that key' -x -a 'ed25519 rsa'
complete -c client -n __fish_use_subcommand -o ciphers -d 'cipher suites allowed, best first, with commas' -x -a 'MLKEM768X25519_AES256_GCM RSA_AES256_CBC_HMAC RSA_AES128_CBC_HMAC'
complete -c client -n __fish_use_subcommand -o letters -d 'name no mailbox to the relay, and collect no letters'
complete -c client -n __fish_use_subcommand -o batch -d 'never ask: a step that needs a question is refused'
complete -c client -n __fish_use_subcommand -o timeout -d 'how long to wait for others, or for a relay that is busy (default 30s)' -x
complete -c client -n __fish_use_subcommand -o prompt -d 'short (default) or long: the prompt with the time and your name' -x -a 'short long'
complete -c client -n __fish_use_subcommand -o bell -d 'ring at every message at the prompt, not only while the terminal lacks the focus'
complete -c client -n __fish_use_subcommand -o json -d 'one JSON object a line'
complete -c client -n __fish_use_subcommand -o q -d 'say less on standard error: no notices but the reason of status 9, not even that messages may be missing or may have been shown before, which -json has'
complete -c client -n __fish_use_subcommand -o v -d 'say more on standard error'
complete -c client -n __fish_use_subcommand -o version -d 'print the version'
complete -c client -n __fish_use_subcommand -o h -d 'print this; after a COMMAND, its own options'
complete -c client -n __fish_use_subcommand -a init -d 'write the options given, and answers to questions, into DIR/config'
complete -c client -n __fish_use_subcommand -a list -d 'the connected people'
complete -c client -n __fish_use_subcommand -a whois -d 'the identity of a person and, once you have talked, the certificate'
complete -c client -n '__fish_seen_subcommand_from whois' -a '(client -q trust 2>/dev/null | sed -n \'s/^peer \\([^ ]*\\) .*/\\1/p\')'
complete -c client -n __fish_use_subcommand -a send -d 'send a message; without TEXT, each line of standard input is one'
complete -c client -n '__fish_seen_subcommand_from send' -o wait -d 'how far it must get: sent (the relay has it), delivered (checked and stored by the receiver; the default) or read' -x -a 'sent delivered read'
complete -c client -n '__fish_seen_subcommand_from send' -o wait-peer -d 'wait until they connect, at most D (default 0)' -x
complete -c client -n '__fish_seen_subcommand_from send' -o live -d 'only to people who are there: the relay keeps nothing'
complete -c client -n '__fish_seen_subcommand_from send' -o 0 -d 'messages on standard input end with a NUL instead of a newline, so that they can have lines'
complete -c client -n '__fish_seen_subcommand_from send' -a '(client -q trust 2>/dev/null | sed -n \'s/^peer \\([^ ]*\\) .*/\\1/p\')'
complete -c client -n __fish_use_subcommand -a recv -d 'print messages of people who are accepted, one a line'
complete -c client -n '__fish_seen_subcommand_from recv' -o n -d 'end after so many messages' -x
complete -c client -n '__fish_seen_subcommand_from recv' -o from -d 'only from NAME; others stay unread' -x
complete -c client -n '__fish_seen_subcommand_from recv' -o from-anyone -d 'also from people who are not accepted'
complete -c client -n '__fish_seen_subcommand_from recv' -o for -d 'end after so long; with 6 if fewer than -n came' -x
complete -c client -n '__fish_seen_subcommand_from recv' -o 0 -d 'for each the name, a tab, the exact text and a NUL'
complete -c client -n __fish_use_subcommand -a pipe -d 'bytes, both ways unless told, to a pipe of NAME\'s'
complete -c client -n '__fish_seen_subcommand_from pipe' -o send -d 'only from here to there'
complete -c client -n '__fish_seen_subcommand_from pipe' -o recv -d 'only from there to here'
complete -c client -n '__fish_seen_subcommand_from pipe' -o wait-peer -d 'wait until they connect, at most D (default 0)' -x
complete -c client -n '__fish_seen_subcommand_from pipe' -a '(client -q trust 2>/dev/null | sed -n \'s/^peer \\([^ ]*\\) .*/\\1/p\')'
complete -c client -n __fish_use_subcommand -a history -d 'the messages; check all of it; write a proof of one message'
complete -c client -n '__fish_seen_subcommand_from history' -a '(client -q trust 2>/dev/null | sed -n \'s/^peer \\([^ ]*\\) .*/\\1/p\')'
complete -c client -n '__fish_seen_subcommand_from history' -o peer -d 'only with NAME' -x
complete -c client -n '__fish_seen_subcommand_from history' -o n -d 'the last N (default 50), and all with 0' -x
complete -c client -n '__fish_seen_subcommand_from history' -o since -d 'since a day as 2026-11-30, a time as 18:00, or for the last 90m or 2d' -x
complete -c client -n '__fish_seen_subcommand_from history' -o grep -d 'only with TEXT in them, whatever its case' -x
complete -c client -n '__fish_seen_subcommand_from history' -o ids -d 'with the ids, as -v and -json'
complete -c client -n '__fish_seen_subcommand_from history' -o verify -d 'check every signature, delegation, chain, order and receipt again'
complete -c client -n '__fish_seen_subcommand_from history' -o export -d 'write the message as a proof that stands alone' -x
complete -c client -n __fish_use_subcommand -a verify -d 'check proofs that history -export wrote'
complete -c client -n '__fish_seen_subcommand_from verify' -F
complete -c client -n __fish_use_subcommand -a card -d 'the tokens, certificates and keys in the reader'
complete -c client -n __fish_use_subcommand -a crl -d 'the revocation lists at hand; fetch your own anew'
complete -c client -n '__fish_seen_subcommand_from crl' -a 'refresh'
complete -c client -n __fish_use_subcommand -a trust -d 'the relays and people that are known; a relay is HOST:PORT FINGERPRINT'
complete -c client -n '__fish_seen_subcommand_from trust' -a 'accept forget block unblock'
complete -c client -n '__fish_seen_subcommand_from trust' -a '(client -q trust 2>/dev/null | sed -n \'s/^peer \\([^ ]*\\) .*/\\1/p\')'
complete -c client -n __fish_use_subcommand -a logout -d 'erase the key that -keep has stored'
complete -c client -n __fish_use_subcommand -a release -d 'give up your name at the relay'
complete -c client -n '__fish_seen_subcommand_from release' -o mailbox -d 'instead, drop the mailbox of a lost device of yours, and the letters in it' -x -a 'list'
complete -c client -n __fish_use_subcommand -a doctor -d 'check the needs of a connection, and name what is missing; only a connection shows whether the relay lets you in'
complete -c client -n __fish_use_subcommand -a completion -d 'a script that completes the command line in a shell'
complete -c client -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'
complete -c client -n __fish_use_subcommand -a help -d 'this, or a command with its options, as COMMAND -h'
complete -c client -n '__fish_seen_subcommand_from help' -a 'init list whois send recv pipe history verify card crl trust logout release doctor completion help'
