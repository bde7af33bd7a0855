#!/bin/sh
# Installs what the tests need and this machine lacks. Says so, or says what is
# missing.
set -eu

missing=
for module in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so /usr/lib64/libsofthsm2.so \
	/usr/lib64/pkcs11/libsofthsm2.so /usr/local/lib/softhsm/libsofthsm2.so /opt/homebrew/lib/softhsm/libsofthsm2.so; do
	[ -e "$module" ] && found=$module
done
[ -n "${found:-}" ] && command -v softhsm2-util >/dev/null || missing="$missing softhsm2"
# pkcs11-tool, which puts objects on SoftHSM2's tokens.
command -v pkcs11-tool >/dev/null || missing="$missing opensc"
command -v openssl >/dev/null || missing="$missing openssl"
[ "${CHATSECURE_NO_TMUX:-}" = 1 ] || command -v tmux >/dev/null || missing="$missing tmux"
command -v gcc >/dev/null || command -v clang >/dev/null || missing="$missing gcc libc6-dev"
# Each shell takes the completion that is made for it.
for shell in bash zsh fish; do command -v $shell >/dev/null || missing="$missing $shell"; done
# For networks that delay and lose; who may make none skips those tests.
[ "$(uname)" != Linux ] || { command -v ip && command -v tc; } >/dev/null || missing="$missing iproute2"
# The system's own Python, whose packages these are, whatever python3 leads to.
[ "${CHATSECURE_NO_PYTHON:-}" = 1 ] || /usr/bin/python3 -c 'import cryptography' 2>/dev/null || missing="$missing python3-cryptography"
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null; then
	echo "the tests need:$missing; install them with this system's package manager" >&2
	exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "the tests need:$missing; install them as root" >&2; exit 1; }
	as_root=sudo
fi
echo "installing:$missing"
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
