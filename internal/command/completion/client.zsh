#compdef client
# zsh completion for client: source <(client completion zsh)
_chatsecure_client() {
	local state line
	local -a commands
	commands=(
		'init:write the options given, and answers to questions, into DIR/config'
		'list:the connected people'
		'whois:the identity of a person and, once you have talked, the certificate'
		'send:send a message; without TEXT, each line of standard input is one'
		'recv:print messages of people who are accepted, one a line'
		'pipe:bytes, both ways unless told, to a pipe of NAME'\''s'
		'history:the messages; check all of it; write a proof of one message'
		'verify:check proofs that history -export wrote'
		'card:the tokens, certificates and keys in the reader'
		'crl:the revocation lists at hand; fetch your own anew'
		'trust:the relays and people that are known; a relay is HOST:PORT FINGERPRINT'
		'logout:erase the key that -keep has stored'
		'release:give up your name at the relay'
		'doctor:check the needs of a connection, and name what is missing; only a connection shows whether the relay lets you in'
		'completion:a script that completes the command line in a shell'
		'help:this, or a command with its options, as COMMAND -h'
	)
	_arguments -C \
		'-relay[the relay (default localhost;8080)]:HOST\:PORT: ' \
		'-name[your name (default; the state directory'\''s)]:NAME: ' \
		'-card[a pkcs11; URI, or a directory with a software card (default; the first card found)]:CARD:_files -/' \
		'-pin-file[the card'\''s PIN is its first line]:FILE:_files' \
		'-state[what is remembered, and the history (default $XDG_STATE_HOME/chatsecure)]:DIR:_files -/' \
		'-ca-bundle[more trusted roots, and intermediates, in PEM]:FILE:_files' \
		'-only-ca[these roots and no others]:FILE:_files' \
		'-crl[revocation lists]:DIR:_files -/' \
		'-crl-policy[try (default); unknown revocation is accepted; require; it is refused; off; nobody looks]:P:(try require off)' \
		'-fetch[fetch no certificates and revocation lists]' \
		'-fetch-private[fetch from private addresses too]' \
		'-fingerprint[the relay'\''s fingerprint, as relay -fingerprint prints it; no other is taken, and it is remembered where none is known]:HEX: ' \
		'-accept-new[accept an unknown relay and unknown people; never changed ones]' \
		'-keep[keep a key for so long (at most 24h); no card is needed]:DURATION: ' \
		'-key[ed25519 (default) or rsa; the kind of that key]:KIND:(ed25519 rsa)' \
		'-ciphers[cipher suites allowed, best first, with commas]:LIST:(MLKEM768X25519_AES256_GCM RSA_AES256_CBC_HMAC RSA_AES128_CBC_HMAC)' \
		'-letters[name no mailbox to the relay, and collect no letters]' \
		'-batch[never ask; a step that needs a question is refused]' \
		'-timeout[how long to wait for others, or for a relay that is busy (default 30s)]:D: ' \
		'-prompt[short (default) or long; the prompt with the time and your name]:LOOK:(short long)' \
		'-bell[ring at every message at the prompt, not only while the terminal lacks the focus]' \
		'-json[one JSON object a line]' \
		'-q[say less on standard error; no notices but the reason of status 9, not even that messages may be missing or may have been shown before, which -json has]' \
		'-v[say more on standard error]' \
		'-version[print the version]' \
		'-h[print this; after a COMMAND, its own options]' \
		'1:command:->command' '*::argument:->argument'
	case $state in
	command) _describe command commands ;;
	argument)
		case $line[1] in
		init) _arguments ;;
		list) _arguments ;;
		whois) _arguments '*:name:($(client -q trust 2>/dev/null | sed -n '\''s/^peer \([^ ]*\) .*/\1/p'\''))' ;;
		send) _arguments '-wait[how far it must get; sent (the relay has it), delivered (checked and stored by the receiver; the default) or read]:LEVEL:(sent delivered read)' '-wait-peer[wait until they connect, at most D (default 0)]:D: ' '-live[only to people who are there; the relay keeps nothing]' '-0[messages on standard input end with a NUL instead of a newline, so that they can have lines]' '*:name:($(client -q trust 2>/dev/null | sed -n '\''s/^peer \([^ ]*\) .*/\1/p'\''))' ;;
		recv) _arguments '-n[end after so many messages]:N: ' '-from[only from NAME; others stay unread]:NAME: ' '-from-anyone[also from people who are not accepted]' '-for[end after so long; with 6 if fewer than -n came]:D: ' '-0[for each the name, a tab, the exact text and a NUL]' ;;
		pipe) _arguments '-send[only from here to there]' '-recv[only from there to here]' '-wait-peer[wait until they connect, at most D (default 0)]:D: ' '*:name:($(client -q trust 2>/dev/null | sed -n '\''s/^peer \([^ ]*\) .*/\1/p'\''))' ;;
		history) _arguments '-peer[only with NAME]:NAME: ' '-n[the last N (default 50), and all with 0]:N: ' '-since[since a day as 2026-11-30, a time as 18;00, or for the last 90m or 2d]:WHEN: ' '-grep[only with TEXT in them, whatever its case]:TEXT: ' '-ids[with the ids, as -v and -json]' '-verify[check every signature, delegation, chain, order and receipt again]' '-export[write the message as a proof that stands alone]:ID: ' '*:name:($(client -q trust 2>/dev/null | sed -n '\''s/^peer \([^ ]*\) .*/\1/p'\''))' ;;
		verify) _arguments '*:file:_files' ;;
		card) _arguments ;;
		crl) _arguments '1:word:(refresh)' ;;
		trust) _arguments '1:word:(accept forget block unblock)' '*:name:($(client -q trust 2>/dev/null | sed -n '\''s/^peer \([^ ]*\) .*/\1/p'\''))' ;;
		logout) _arguments ;;
		release) _arguments '-mailbox[instead, drop the mailbox of a lost device of yours, and the letters in it]:HASH:(list)' ;;
		doctor) _arguments ;;
		completion) _arguments '1:word:(bash zsh fish)' ;;
		help) _arguments '1:word:(init list whois send recv pipe history verify card crl trust logout release doctor completion help)' ;;
		esac ;;
	esac
}
if [[ $funcstack[1] == _chatsecure_client ]]; then _chatsecure_client "$@"; else compdef _chatsecure_client client; fi
