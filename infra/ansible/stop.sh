#!/usr/bin/env bash
# Stops all services, clients first, until restart.sh or init.sh; nothing that was counted is lost.
set -euo pipefail
# shellcheck source=infra/ansible/play.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/play.sh"

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
    usage stop.sh "Stops all services, clients first, until restart.sh or init.sh; nothing that was counted is lost."
    exit
fi
play stop "$@"
