#!/usr/bin/env bash
# Installs, where missing and possible, what pip cannot bring.
#
#   setup/system-packages.sh libraries   what the wheels link against
#   setup/system-packages.sh sandbox     bubblewrap, which runs what a model wrote
#   setup/system-packages.sh tests       a database server and a builder of small
#                                        Debian systems, for the tests of AgentBench
#   setup/system-packages.sh engine      Docker for the slow tests, if there is no
#                                        container engine and it can be installed
#   setup/system-packages.sh browser     Chromium for the tests of the page
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

install_tests() {
    local missing=()
    PATH=$PATH:/usr/sbin command -v mariadbd >/dev/null ||
        missing+=(mariadb-server-core mariadb-client-core)
    PATH=$PATH:/usr/sbin command -v debootstrap >/dev/null || missing+=(debootstrap)
    [ ${#missing[@]} = 0 ] || install "${missing[@]}"
}

install_engine() {
    for engine in docker podman; do
        command -v "$engine" >/dev/null && return
    done
    if can_install; then
        install docker.io
    else
        echo "setup: without a container engine the tests that need one are skipped"
    fi
}

install_browser() {
    for browser in chromium google-chrome chromium-browser; do
        command -v "$browser" >/dev/null && return
    done
    install chromium
    # Ubuntu's package is a stub that asks for snapd, which containers lack.
    chromium --version >/dev/null 2>&1 ||
        echo "setup: expected Chromium to start, but the installed package does not;" \
            "install google-chrome, or the tests of the page fail"
}

case "${1:-}" in
libraries) install_libraries ;;
sandbox) install_sandbox ;;
tests) install_tests ;;
engine) install_engine ;;
browser) install_browser ;;
*)
    fail "expected 'libraries', 'sandbox', 'tests', 'engine' or 'browser', but got" \
        "'${1:-}'"
    ;;
esac
