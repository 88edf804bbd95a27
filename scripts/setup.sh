# shellcheck shell=bash
# Sourced by train.sh, test.sh and infra/ansible/play.sh: a virtual environment in the checkout, with pinned packages.

# What a user's Python and pip are told elsewhere must not reach the virtual environment.
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE PYTHONSAFEPATH PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT
# Every tier and client is a process of its own: each would compile all modules anew.
unset PYTHONDONTWRITEBYTECODE
export PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

checkout="$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$checkout/.venv"

fail() {
    printf 'Error: %s\n' "$1" >&2
    exit 1
}

say() {
    printf '%s\n' "$1" >&2
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Print the Python to make the environment with.
find_python() {
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11 or newer; name one that is"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11; do
        if is_new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed, but python3 is $(python3 --version 2>&1 || true); install one, or name it by PYTHON=/path/to/python"
}

# Run a command quietly; show what it printed when it fails.
quietly() {
    local log status=0
    log="$(mktemp)"
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if ((status != 0)); then
        cat "$log" >&2
    fi
    rm -f "$log"
    return "$status"
}

# Everything that decides what is installed, as text: an extra is set up when its stamp says the same.
wanted_state() {
    printf '%s\n' "$venv" "torch from ${TORCH_INDEX_URL:-the default index}"
    cat "$venv/pyvenv.cfg" "$checkout/pyproject.toml" "$checkout/constraints.txt"
}

stamp_of() {
    printf '%s\n' "$venv/set-up-$1"
}

is_set_up() {
    local extra
    [[ -x "$venv/bin/fedtier" ]] && "$venv/bin/python" -c '' 2>/dev/null || return 1
    for extra in "$@"; do
        cmp -s "$(stamp_of "$extra")" <(wanted_state) || return 1
    done
}

make_venv() {
    local python
    # Programs in a virtual environment name its place, so one that was moved is as good as broken.
    if "$venv/bin/python" -m pip --version >/dev/null 2>&1 && grep -qsF "$venv" "$venv/bin/activate"; then
        return
    fi
    python="$(find_python)"
    rm -rf "$venv"
    quietly "$python" -m venv "$venv" ||
        fail "the virtual environment $venv cannot be made with $python; on Debian and Ubuntu, install python3-venv"
}

install_packages() {
    local pip=("$venv/bin/python" -m pip install --constraint "$checkout/constraints.txt") extras torch
    extras="$(IFS=,; printf '%s' "$*")"
    if [[ ",$extras," == *,client,* && -n "${TORCH_INDEX_URL:-}" ]]; then
        torch="$(grep '^torch==' "$checkout/constraints.txt")"
        # Without its dependencies, which the usual index has; by force, because another build has the same version.
        quietly "${pip[@]}" --force-reinstall --no-deps --index-url "$TORCH_INDEX_URL" "$torch" ||
            fail "$torch cannot be installed from TORCH_INDEX_URL=$TORCH_INDEX_URL; see pip's messages above"
    fi
    quietly "${pip[@]}" --editable "${checkout}[$extras]" ||
        fail "the Python packages cannot be installed; see pip's messages above"
}

# Make the environment ready for some extras of pyproject.toml; well under a second when it is already.
set_up() {
    local extra
    is_set_up "$@" && return
    mkdir -p "$checkout/.fedtier"
    exec 9>"$checkout/.fedtier/setup.lock"
    if command -v flock >/dev/null && ! flock --nonblock 9; then
        say "waiting for another set-up of $venv"
        flock 9
    fi
    if ! is_set_up "$@"; then
        say "setting up Python packages in $venv (first time only, about a minute)"
        make_venv
        install_packages "$@"
        for extra in "$@"; do
            wanted_state >"$(stamp_of "$extra")"
        done
    fi
    exec 9>&-
}
