#!/usr/bin/env bash
# Installs, where missing and possible, what pip cannot bring.
#
#   setup/system-packages.sh libraries   what the wheels link against
#   setup/system-packages.sh sandbox     bubblewrap, which runs what a model wrote
set -euo pipefail

fail() {
    echo "setup: $*" >&2
    exit 1
}

has_library() { PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -qF "$1"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

can_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

install() {
    can_install ||
        fail "expected the system packages $* (their names on Debian and Ubuntu)," \
            "but they are missing and this account cannot install them; ask for" \
            "'apt-get install $*', then repeat"
    echo "setup: installing the system packages $*"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get install --yes --no-install-recommends "$@" >/dev/null 2>&1 || {
        as_root apt-get update >/dev/null
        as_root apt-get install --yes --no-install-recommends "$@" >/dev/null
    } || fail "apt-get could not install $*; install them by hand, then repeat"
}

install_libraries() {
    local missing=()
    has_library libnuma.so.1 || missing+=(libnuma1)
    has_library libgomp.so.1 || missing+=(libgomp1)
    has_library libstdc++.so.6 || missing+=(libstdc++6)
    [ ${#missing[@]} = 0 ] || install "${missing[@]}"
}

install_sandbox() {
    command -v bwrap >/dev/null || install bubblewrap
}

case "${1:-}" in
libraries) install_libraries ;;
sandbox) install_sandbox ;;
*) fail "expected 'libraries' or 'sandbox', but got '${1:-}'" ;;
esac
