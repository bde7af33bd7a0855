#!/bin/sh
# Shows the main job: a lab hierarchy with two software cards, a relay, two
# clients that talk, and what they keep. Everything lies in a temporary
# directory, and nothing is left running.
set -eu
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
relay= alice= bob=
cleanup() {
	status=$?
	exec 3>&- 4>&- || :
	for pid in $alice $bob $relay; do kill "$pid" 2>/dev/null || :; done
	wait 2>/dev/null || :
	rm -rf "$dir"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n== %s\n' "$*"; }

# until_seen FILE TEXT: waits, no longer than 20 s, until TEXT stands in FILE.
until_seen() {
	tries=0
	until grep -qF -- "$2" "$1" 2>/dev/null; do
		tries=$((tries + 1))
		if [ $tries -gt 400 ]; then
			echo "demo: error: \"$2\" was not seen within 20 s; $1 has:" >&2
			cat "$1" "$dir"/*.log >&2 || :
			exit 1
		fi
		sleep 0.05
	done
}

say "A lab hierarchy: root, Cartão de Cidadão, EC de Autenticação, and two citizens with software cards"
go run ./testdata/pki -out "$dir/lab" alice:ec bob:rsa >"$dir/pki.log"
ls "$dir/lab"

say "The relay"
sh "$dir/lab/relay.sh" -listen 127.0.0.1:0 -addr-file "$dir/addr" 2>"$dir/relay.log" &
relay=$!
until_seen "$dir/addr" ":"
addr=$(cat "$dir/addr")
fingerprint=$(bin/relay -fingerprint -state "$dir/lab/state/relay")
echo "listening on $addr with the fingerprint"
echo "$fingerprint"

client() { # NAME, then what follows the global flags
	name=$1
	shift
	# The relay's port is not the lab's, and nobody is here to confirm anything.
	bin/client -state "$dir/lab/state/$name" -relay "$addr" -fingerprint "$fingerprint" -accept-new -crl-policy require "$@"
}

say "Alice and Bob talk"
mkfifo "$dir/alice.in" "$dir/bob.in"
client alice <"$dir/alice.in" >"$dir/alice.out" 2>"$dir/alice.log" &
alice=$!
client bob <"$dir/bob.in" >"$dir/bob.out" 2>"$dir/bob.log" &
bob=$!
exec 3>"$dir/alice.in" 4>"$dir/bob.in"

type_as() { # FD NAME LINE
	echo "$2> $3"
	printf '%s\n' "$3" >&"$1"
}
shown_to() { # NAME TEXT
	until_seen "$dir/$1.out" "$2"
	echo "   ($1 sees)  $(grep -F -- "$2" "$dir/$1.out" | tail -n 1)"
}

type_as 4 bob list
until_seen "$dir/bob.out" "ID: bob"
type_as 3 alice list
until_seen "$dir/alice.out" "ID: bob"
cat "$dir/alice.out"
type_as 3 alice "bob: Bom dia! Is the lab open tonight?"
shown_to bob "Bom dia!"
type_as 4 bob "alice: It is, until ten. Bring your card."
shown_to alice "Bring your card."
type_as 3 alice "whois bob"
until_seen "$dir/alice.out" "Válido de"
sed -n '/^Nome/,/^Válido de/p' "$dir/alice.out"
type_as 3 alice "bob: See you there."
shown_to bob "See you there."

say "They leave: each waits until all is READ"
exec 3>&- 4>&-
wait "$alice"
alice=
wait "$bob"
bob=
echo "both ended with 0"

say "A script does the same: client send, client recv"
client bob recv -n 1 >"$dir/recv.out" 2>"$dir/recv.log" &
bob=$!
client alice send -wait read -wait-peer 10s bob "from a script" >"$dir/send.out"
wait "$bob"
bob=
echo "sent with the id $(cat "$dir/send.out"); bob's recv printed: $(cat "$dir/recv.out")"

for name in alice bob; do
	say "What $name keeps, and its verification (neither relay nor card needed)"
	client $name history
	client $name history -verify
done

say "The relay stops"
kill "$relay"
wait "$relay"
relay=
grep -cF "Bom dia" "$dir/relay.log" >/dev/null && { echo "demo: error: the relay's log has a text" >&2; exit 1; }
echo "done: signed, encrypted end to end, receipted and verified"
