#!/bin/sh
# Debian packages that some tests use. As root they are installed; otherwise this says what is missing.
# None is needed to run the product. A test without its program is skipped, with the reason.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=""
want() { # want PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
want psql postgresql-client
want ip iproute2
want sshd openssh-server
want ssh openssh-client
want nginx nginx-light
want haproxy haproxy
want chromium chromium
want flite flite
want curl curl
want systemd-analyze systemd

if [ -z "$missing" ]; then
    echo "system-packages: nothing is missing"
elif ! command -v apt-get >/dev/null 2>&1; then
    echo "system-packages: this is not Debian; install by hand:$missing"
elif [ "$(id -u)" -ne 0 ]; then
    echo "system-packages: missing:$missing (as root: apt-get install$missing)"
else
    echo "system-packages: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    # The tests start these programs themselves: no service is to run because its package was unpacked.
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && trap 'rm -f "$policy"' EXIT; }
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
