#!/usr/bin/env bash
# Make .venv at the project's root hold what the lock files say; do nothing, offline too, when it does already.
#   scripts/setup.sh          the project, the example's data, the development tools
#   scripts/setup.sh spark    Spark as well, for the slow tests
# PYTHON names the interpreter to build .venv with (default python3; 3.11 or later).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly stamp=.venv/.installed spark_stamp=.venv/.installed-spark
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-180}"

say() { printf 'setup: %s\n' "$*"; }

# Content, not time: a fresh checkout or a changed branch and back does not reinstall.
state_of() { cat "$@" | cksum; }

is_current() { [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null && [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

make_venv() {
    local python="${PYTHON:-python3}"
    if ! command -v "$python" >/dev/null; then
        say "no $python on this machine: install Python 3.11 or later, or name one: make setup PYTHON=/path/to/python" >&2
        exit 2
    fi
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        say "$("$python" --version) is too old: Python 3.11 or later is needed, e.g. make setup PYTHON=python3.12" >&2
        exit 2
    fi
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        say "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    fi
}

# uv's version and hashes come from the lock like everybody else's.
have_uv() {
    local wanted
    wanted=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)
    if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d ' ' -f 2)" = "$wanted" ]; then return 0; fi
    sed -n '/^uv==/,/[^\\]$/p' requirements.lock >.venv/uv.lock
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .venv/uv.lock
}

# pip where uv cannot be installed: the same packages, a few times slower.
install() {
    if have_uv; then
        # Compiled once here, so that no process has to: it saves each `cx` and each test process seconds.
        .venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python "$@"
    else
        say "without uv: pip does the work, which takes a minute or two"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
    fi
}

main_state=$(state_of requirements.lock pyproject.toml)
if ! is_current "$stamp" "$main_state"; then
    rm -f "$stamp" "$spark_stamp"
    make_venv
    say "installing $(grep -c '^[a-zA-Z0-9._-]*==' requirements.lock) locked packages into .venv"
    install --no-deps --require-hashes -r requirements.lock
    install --no-deps --no-build-isolation --editable .
    echo "$main_state" >"$stamp"
    say "done: .venv/bin/cx and .venv/bin/python"
fi

if [ "${1:-}" = spark ]; then
    spark_state=$(state_of requirements-spark.lock)
    if ! is_current "$spark_stamp" "$spark_state"; then
        say "installing Spark for the slow tests (about 450 MB)"
        install --no-deps --require-hashes -r requirements-spark.lock
        echo "$spark_state" >"$spark_stamp"
    fi
fi
