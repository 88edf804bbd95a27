#!/usr/bin/env bash
# Looks the pinned packages up in a database of known vulnerabilities: before a release, where the network reaches one.
# Arguments go to pip-audit, for example: --vulnerability-service osv, or --ignore-vuln ID once its reason is written down.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

# In an environment of its own: what does the audit is none of what is audited.
python="$(find_python)"
quietly "$python" -m venv "$folder/venv" || fail "no virtual environment can be made with $python"
quietly "$folder/venv/bin/python" -m pip install "pip-audit>=2.7" ||
    fail "pip-audit cannot be installed; see pip's messages above"

say "looking up $(grep -c '==' "$checkout/constraints.txt") packages of constraints.txt"
status=0
# The list is whole: nothing is resolved or installed. A package that the database does not know was not audited: --strict.
"$folder/venv/bin/pip-audit" --requirement "$checkout/constraints.txt" --no-deps --disable-pip \
    --strict --progress-spinner off "$@" || status=$?
if ((status == 0)); then
    say "no known vulnerability"
else
    fail "not clean, or not looked up (status $status): see above; raise a version in constraints.txt, run ./test.sh, and try again"
fi
