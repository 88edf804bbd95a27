#!/usr/bin/env bash
# Trains on the hosts of an inventory: ./train.sh of the checkout, told where they are.
set -euo pipefail

ansible="$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
    exec "$ansible/../../train.sh" --help
fi
for word in "$@"; do
    if [[ "$word" == --inventory || "$word" == --inventory=* ]]; then
        exec "$ansible/../../train.sh" "$@"
    fi
done
exec "$ansible/../../train.sh" --inventory "$ansible/inventory/hosts.yml" "$@"
