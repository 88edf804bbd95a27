#!/usr/bin/env bash
# Sets up and starts the worker aggregators.
set -euo pipefail
# shellcheck source=infra/ansible/play.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/play.sh"

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
    usage "worker.sh [MASTER_URL]" "Sets up and starts the worker aggregators; with a URL, below that master, or worker, instead of the inventory's."
    exit
fi
words=()
for word in "$@"; do
    case "$word" in
        http://* | https://*) words+=(--extra-vars "master_url=$word") ;;
        *) words+=("$word") ;;
    esac
done
play worker ${words[@]+"${words[@]}"}
