#!/usr/bin/env bash
# Makes every host of the inventory ready; called again, it changes what is not as it should be, and nothing else.
set -euo pipefail
# shellcheck source=infra/ansible/play.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/play.sh"

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
    usage init.sh "Makes every host of the inventory ready; called again, it changes what is not as it should be, and nothing else."
    exit
fi
play init "$@"
