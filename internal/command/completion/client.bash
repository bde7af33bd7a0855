# bash completion for client: source <(client completion bash)
_chatsecure_client() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= i
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-relay|--relay|-name|--name|-card|--card|-pin-file|--pin-file|-state|--state|-ca-bundle|--ca-bundle|-only-ca|--only-ca|-crl|--crl|-crl-policy|--crl-policy|-fingerprint|--fingerprint|-keep|--keep|-key|--key|-ciphers|--ciphers|-timeout|--timeout|-prompt|--prompt|:|=) ((i++)) ;;
		-*) ;;
		*) command=${COMP_WORDS[i]}; break ;;
		esac
	done
	case $command:$prev in
	:-relay|:--relay) return ;;
	:-name|:--name) return ;;
	:-card|:--card) COMPREPLY=($(compgen -d -- "$cur")); return ;;
	:-pin-file|:--pin-file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
	:-state|:--state) COMPREPLY=($(compgen -d -- "$cur")); return ;;
	:-ca-bundle|:--ca-bundle) COMPREPLY=($(compgen -f -- "$cur")); return ;;
	:-only-ca|:--only-ca) COMPREPLY=($(compgen -f -- "$cur")); return ;;
	:-crl|:--crl) COMPREPLY=($(compgen -d -- "$cur")); return ;;
	:-crl-policy|:--crl-policy) COMPREPLY=($(compgen -W 'try require off' -- "$cur")); return ;;
	:-fingerprint|:--fingerprint) return ;;
	:-keep|:--keep) return ;;
	:-key|:--key) COMPREPLY=($(compgen -W 'ed25519 rsa' -- "$cur")); return ;;
	:-ciphers|:--ciphers) COMPREPLY=($(compgen -W 'MLKEM768X25519_AES256_GCM RSA_AES256_CBC_HMAC RSA_AES128_CBC_HMAC' -- "$cur")); return ;;
	:-timeout|:--timeout) return ;;
	:-prompt|:--prompt) COMPREPLY=($(compgen -W 'short long' -- "$cur")); return ;;
	send:-wait|send:--wait) COMPREPLY=($(compgen -W 'sent delivered read' -- "$cur")); return ;;
	send:-wait-peer|send:--wait-peer) return ;;
	recv:-n|recv:--n) return ;;
	recv:-from|recv:--from) return ;;
	recv:-for|recv:--for) return ;;
	pipe:-wait-peer|pipe:--wait-peer) return ;;
	release:-mailbox|release:--mailbox) COMPREPLY=($(compgen -W 'list' -- "$cur")); return ;;
	history:-peer|history:--peer) return ;;
	history:-n|history:--n) return ;;
	history:-since|history:--since) return ;;
	history:-grep|history:--grep) return ;;
	history:-export|history:--export) return ;;
	esac
	case $command in
	'') COMPREPLY=($(compgen -W "-relay -name -card -pin-file -state -ca-bundle -only-ca -crl -crl-policy -fetch -fetch-private -fingerprint -accept-new -keep -key -ciphers -letters -batch -timeout -prompt -bell -json -q -v -version -h init list whois send recv pipe history verify card crl trust logout release doctor completion help" -- "$cur")) ;;
	init) COMPREPLY=($(compgen -W "" -- "$cur")) ;;
	list) COMPREPLY=($(compgen -W "" -- "$cur")) ;;
	whois) COMPREPLY=($(compgen -W " $(client -q trust 2>/dev/null | sed -n 's/^peer \([^ ]*\) .*/\1/p')" -- "$cur")) ;;
	send) COMPREPLY=($(compgen -W "-wait -wait-peer -live -0 $(client -q trust 2>/dev/null | sed -n 's/^peer \([^ ]*\) .*/\1/p')" -- "$cur")) ;;
	recv) COMPREPLY=($(compgen -W "-n -from -from-anyone -for -0" -- "$cur")) ;;
	pipe) COMPREPLY=($(compgen -W "-send -recv -wait-peer $(client -q trust 2>/dev/null | sed -n 's/^peer \([^ ]*\) .*/\1/p')" -- "$cur")) ;;
	history) COMPREPLY=($(compgen -W "-peer -n -since -grep -ids -verify -export $(client -q trust 2>/dev/null | sed -n 's/^peer \([^ ]*\) .*/\1/p')" -- "$cur")) ;;
	verify) COMPREPLY=($(compgen -W "" -- "$cur")) ;;
	card) COMPREPLY=($(compgen -W "" -- "$cur")) ;;
	crl) COMPREPLY=($(compgen -W "refresh" -- "$cur")) ;;
	trust) COMPREPLY=($(compgen -W "accept forget block unblock $(client -q trust 2>/dev/null | sed -n 's/^peer \([^ ]*\) .*/\1/p')" -- "$cur")) ;;
	logout) COMPREPLY=($(compgen -W "" -- "$cur")) ;;
	release) COMPREPLY=($(compgen -W "-mailbox" -- "$cur")) ;;
	doctor) COMPREPLY=($(compgen -W "" -- "$cur")) ;;
	completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$cur")) ;;
	help) COMPREPLY=($(compgen -W "init list whois send recv pipe history verify card crl trust logout release doctor completion help" -- "$cur")) ;;
	esac
	case $command in verify) COMPREPLY+=($(compgen -f -- "$cur")) ;; esac
}
complete -F _chatsecure_client client
