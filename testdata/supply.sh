#!/bin/sh
# Looks at what the programs are made of: known vulnerabilities, whether two
# builds are the same bytes, and that what is in them is what go.mod says.
# Leaves the list of it, bin/sbom.txt. Tools come at fixed versions and are not
# in go.mod.
set -eu
cd "$(dirname "$0")/.."
govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0
vulndb=golang.org/x/vulndb@v0.0.0-20261105234957-e22db6528018
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

echo "== Known vulnerabilities"
GOBIN="$work/tools" go install "$govulncheck"
status=0
"$work/tools/govulncheck" ./... >"$work/vuln" 2>&1 || status=$?
if grep -q 'vuln.go.dev' "$work/vuln" && ! grep -q '^Vulnerability #' "$work/vuln"; then
	# Without today's list, the one that comes as a module.
	echo "*** vuln.go.dev cannot be reached: this is the list of $vulndb ***"
	dir=$(go mod download -json "$vulndb" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
	go run "${vulndb%@*}/cmd/indexdb@${vulndb#*@}" -vulns "$dir/data/osv" -out "$work/db"
	status=0
	"$work/tools/govulncheck" -db "file://$work/db" ./... >"$work/vuln" 2>&1 || status=$?
fi
grep -A 1 '^Vulnerability #\|^ *Fixed in\|^Your code is affected\|^No vuln' "$work/vuln" | grep -v '^--\|Example traces' || :
case $status in
0) ;;
3) # Those of the standard library go with the toolchain that builds it.
	if grep -q '^ *Module:' "$work/vuln"; then
		echo "*** a module has known vulnerabilities: see above ***"
		exit 1
	fi
	echo "*** $(go env GOVERSION) has known vulnerabilities in what is used of it: build releases with the version that fixes them ***" ;;
*)
	cat "$work/vuln"
	exit 1 ;;
esac

echo "== Two builds, in two places, nothing in common"
version=$(git describe --always --dirty --tags)
for place in one two; do
	mkdir -p "$work/$place/src"
	git archive HEAD | tar x -C "$work/$place/src"
	(cd "$work/$place/src" && GOCACHE="$work/$place/cache" go build -trimpath -buildvcs=false -ldflags "-X main.version=$version" -o ../bin/ ./cmd/relay ./cmd/client)
done
for program in relay client; do
	cmp "$work/one/bin/$program" "$work/two/bin/$program"
	(cd "$work/one/bin" && sha256sum "$program")
done

echo "== What is in them"
mkdir -p bin
(cd "$work/one/bin" && go version -m relay client) >bin/sbom.txt
cat bin/sbom.txt
modules=$(awk '$1 == "dep" { print $2 }' bin/sbom.txt | sort -u)
[ "$modules" = github.com/miekg/pkcs11 ] || { echo "*** modules: $modules ***"; exit 1; }
