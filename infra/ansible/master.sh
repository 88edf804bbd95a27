#!/usr/bin/env bash
# Sets up the master aggregator, and starts it where round 0 is published.
set -euo pipefail
# shellcheck source=infra/ansible/play.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/play.sh"

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
    usage master.sh "Sets up the master aggregator, and starts it where round 0 is published."
    exit
fi
play master "$@"
