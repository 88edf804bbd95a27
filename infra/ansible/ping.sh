#!/usr/bin/env bash
# Says which hosts are reached, and what runs there.
set -euo pipefail
# shellcheck source=infra/ansible/play.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/play.sh"

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
    usage ping.sh "Says which hosts are reached, and what runs there."
    exit
fi
play ping "$@"
