#!/bin/sh
# Install the project and all it needs into a virtual environment: install.sh VENV LOCK
# Every package is pinned by hash in LOCK. A failure says what is missing and what to do.
set -eu
venv=$1
lock=$2
python=${PYTHON:-python3}

fail() {
    printf 'install: %s\n' "$1" >&2
    exit 3
}

command -v "$python" >/dev/null 2>&1 || fail "no $python here: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3 ..."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version 2>&1) is too old: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12 ..."
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "this Python has no venv module: on Debian and Ubuntu install the package python3-venv"

log=$(mktemp "${TMPDIR:-/tmp}/voice-install.XXXXXX")
trap 'rm -f "$log"' EXIT

printf 'install: creating %s with %s\n' "$venv" "$("$python" --version 2>&1)"
[ ! -x "$venv/bin/python" ] || "$venv/bin/python" -c '' 2>/dev/null || rm -rf "$venv"
"$python" -m venv "$venv" >"$log" 2>&1 || { cat "$log" >&2; fail "the virtual environment could not be made in $venv"; }

printf 'install: fetching %s packages, checked by hash (about a minute)\n' "$(grep -c '^[a-zA-Z0-9]' "$lock")"
if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input -q --require-hashes -r "$lock" >"$log" 2>&1; then
    grep -v '^WARNING: Location' "$log" | tail -n 15 >&2
    fail "the packages could not be installed: is the package index reachable, and is the disk not full? Run the same command again to go on"
fi
"$venv/bin/python" -m pip install --disable-pip-version-check --no-input -q --no-deps --no-build-isolation -e . >"$log" 2>&1 ||
    { tail -n 15 "$log" >&2; fail "the project itself could not be installed"; }
printf 'install: done\n'
