#!/usr/bin/env bash
# Trains MNIST through three real tiers on this machine, setting up what that needs. See ./train.sh --help.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/scripts/setup.sh"

set_up server client view
export FEDTIER_HOME="${FEDTIER_HOME:-$checkout}"
exec "$venv/bin/fedtier" train "$@"
