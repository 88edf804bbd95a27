#!/usr/bin/env bash
# Starts all services again, workers one after the other; a round in progress goes on.
set -euo pipefail
# shellcheck source=infra/ansible/play.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/play.sh"

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
    usage restart.sh "Starts all services again, workers one after the other; a round in progress goes on."
    exit
fi
play restart "$@"
