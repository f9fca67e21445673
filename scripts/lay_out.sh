#!/bin/sh
# A virtual environment of exactly what a lock pins, checked by hash, with nothing of this project: lay_out.sh VENV LOCK
set -eu
venv=$1
lock=$2
python=${PYTHON:-python3}

fail() {
    printf 'lay_out: %s\n' "$1" >&2
    exit 3
}

log=$(mktemp "${TMPDIR:-/tmp}/voice-lay-out.XXXXXX")
trap 'rm -f "$log"' EXIT
rm -rf "$venv"
printf 'lay_out: %s packages of %s into %s\n' "$(grep -c '^[a-zA-Z0-9]' "$lock")" "$lock" "$venv" >&2
"$python" -m venv --without-pip "$venv" >"$log" 2>&1 || { cat "$log" >&2; fail "the virtual environment could not be made in $venv"; }
"$python" -m pip --python "$venv/bin/python" install --disable-pip-version-check --no-input -q --require-hashes --only-binary :all: \
    -r "$lock" >"$log" 2>&1 ||
    { grep -v '^WARNING: Location' "$log" | tail -n 15 >&2; fail "the packages of $lock could not be installed: is the package index reachable?"; }
