#!/usr/bin/env bash
# Finds out on a real cluster what cannot be found out without one: that pods get ready, that workers share the work, that
# the autoscaler sees metrics, that NetworkPolicies and pod security are in force, and that a round survives the death of
# a worker's and of the master's pod. It brings up a federation of its own, says PASS, FAIL or SKIP for each point with
# the reason, and takes everything away again.
#
# NEVER RUN ON A REAL CLUSTER so far: none is to be had where this repository is developed. What its tests know is how it
# goes on after each answer of kubectl, with a stand-in that gives these answers.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/setup.sh"
# shellcheck source=infra/kubernetes/verify-points.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/verify-points.sh"
# shellcheck source=infra/kubernetes/verify-rounds.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/verify-rounds.sh"

namespace=fedtier
elsewhere=fedtier-verify
failed_status=3

usage() {
    cat <<'USAGE'
Usage: infra/kubernetes/verify-cluster.sh --overlay minikube|eks [--context NAME] [--yes] [--keep] [--load] [--patience SECONDS]

Brings up a federation on a cluster that has none, checks point by point what only a cluster can show, and takes it away.

  --overlay NAME      minikube or eks; its images are to be where the cluster finds them, see docs/kubernetes.md
  --context NAME      of kubectl; by default the current one
  --yes               do not ask before the cluster is touched
  --keep              leave everything there
  --load              also keep the workers busy until the autoscaler adds one, some minutes
  --patience SECONDS  how long to wait for each thing that takes its time; 1800 by default
  --every SECONDS     from one look to the next; 2 by default

Ends with status 0 when nothing failed, 3 when a point failed, 1 when it could not begin or go on.
On eks, rounds are published in the overlay's bucket, and stay there: take a prefix that has none.
USAGE
}

read_flags() {
    # shellcheck disable=SC2034 # load is for verify-points.sh
    overlay="" context=() yes="" keep="" load="" patience=1800 every=2
    while (($#)); do
        case "$1" in
            --overlay | --context | --patience | --every)
                (($# > 1)) && [[ -n "$2" ]] || fail "$1 needs a value"
                case "$1" in
                    --overlay) overlay="$2" ;;
                    --context) context=(--context "$2") ;;
                    --patience) patience="$2" ;;
                    --every) every="$2" ;;
                esac
                shift 2
                ;;
            --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
            --yes) yes=1 && shift ;;
            --keep) keep=1 && shift ;;
            --load) load=1 && shift ;;
            --help | -h) usage && exit ;;
            *) fail "$1 is no argument of verify-cluster.sh; see --help" ;;
        esac
    done
    [[ "$overlay" == minikube || "$overlay" == eks ]] || fail "--overlay is '$overlay', wanted minikube or eks"
    [[ "$patience" =~ ^[1-9][0-9]{0,5}$ ]] || fail "--patience is $patience, wanted whole seconds"
    [[ "$every" =~ ^[1-9][0-9]{0,5}$ ]] || fail "--every is $every, wanted whole seconds"
    manifests="$checkout/infra/kubernetes/overlays/$overlay"
}

# kubectl, in the cluster that was chosen; `in_cluster` in no namespace, `k` in the federation's.
in_cluster() {
    kubectl ${context[@]+"${context[@]}"} "$@"
}

k() {
    in_cluster --namespace "$namespace" "$@"
}

require_a_cluster_without_a_federation() {
    command -v kubectl >/dev/null || fail "kubectl is not installed"
    if grep -qs 123456789012 <(kubectl kustomize "$manifests"); then
        fail "the overlay $overlay still names the account 123456789012; put yours into $manifests (docs/kubernetes.md)"
    fi
    in_cluster version >/dev/null 2>&1 || fail "the cluster does not answer; kubectl ${context[*]-} version says why"
    in_cluster auth can-i create namespaces >/dev/null || fail "you may not make namespaces there; take a context that may"
    local name
    for name in "$namespace" "$elsewhere"; do
        if in_cluster get namespace "$name" >/dev/null 2>&1; then
            fail "there is a namespace $name already, and nothing of it may be touched; delete it, or take another cluster"
        fi
    done
}

ask() {
    local answer where end="deletes both namespaces at the end"
    where="${context[1]-$(kubectl config current-context)}"
    [[ -z "$keep" ]] || end="leaves all of it there"
    say "This makes the namespaces $namespace and $elsewhere on the cluster of the context $where, runs a federation there,"
    say "kills some of its pods, and $end."
    [[ -z "$yes" ]] || return 0
    [[ -t 0 ]] || fail "nobody is there to say yes; give --yes"
    read -r -p "go on? [y/N]: " answer
    [[ "$answer" == [yY]* ]] || fail "nothing was touched"
}

# Take away what is there; called at the end, however that comes.
clean_up() {
    local status=$?
    trap - EXIT
    [[ -z "$checking" ]] || kill "$checking" 2>/dev/null || true
    if [[ -n "${touched:-}" && -z "$keep" ]]; then
        say "taking everything away"
        in_cluster delete --kustomize "$manifests" --ignore-not-found >/dev/null || status=1
        in_cluster delete namespace "$elsewhere" --ignore-not-found >/dev/null || status=1
    fi
    rm -rf "$scratch"
    exit "$status"
}

# All but the clients, which come when there is somebody who watches them.
bring_up() {
    touched=1
    in_cluster apply --filename "$checkout/infra/kubernetes/base/namespace.yaml" >/dev/null
    in_cluster create namespace "$elsewhere" >/dev/null
    "$checkout/infra/kubernetes/secrets.sh" --overlay "$overlay" --folder "$scratch/credentials" \
        ${context[@]+"${context[@]}"} >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2 && return 1; }
    in_cluster apply --kustomize "$manifests" --selector app.kubernetes.io/component!=client >/dev/null
}

start_clients() {
    in_cluster apply --kustomize "$manifests" --selector app.kubernetes.io/component=client >/dev/null
}

# Judge one point: a function of the files beside this one, which prints the reason, and returns 0, or `skip`, or anything
# else. Each is a shell of its own, which the first thing that goes wrong ends, and so does who breaks all of it off.
check() {
    local name="$1" status=0 reason
    shift
    (
        set -e
        "$@"
    ) >"$scratch/reason" 2>&1 &
    checking=$!
    wait "$checking" || status=$?
    checking=""
    reason="$(<"$scratch/reason")"
    case "$status" in
        0) passed=$((passed + 1)) && verdict PASS "$name" "$reason" ;;
        "$skip") skipped=$((skipped + 1)) && verdict SKIP "$name" "$reason" ;;
        *) failed=$((failed + 1)) && verdict FAIL "$name" "$reason" ;;
    esac
}

verdict() {
    printf '%s  %s: %s\n' "$1" "$2" "$(tr '\n' ' ' <<<"${3:-nothing was said}" | sed 's/ *$//')"
}

check_servers() {
    check "the load balancer finds workers healthy" load_balancer_finds_workers
    check "probing pods start" start_probing_pods
    check "every worker gets requests" requests_are_spread
    check "a client's pod reaches workers" client_reaches_workers
    check "a client's pod does not reach the master" client_is_kept_from_master
    check "a stranger in the namespace reaches nothing" stranger_reaches_nothing
    check "a pod elsewhere does not reach the master" outsider_is_kept_from_master
    check "a privileged pod is refused" privileged_pod_is_refused
    check "roots are read-only" roots_are_read_only
    check "the autoscaler sees metrics" autoscaler_sees_metrics
}

check_rounds() {
    start_clients
    check "a worker's pod is killed in mid-round" round_survives worker-aggregator
    check "the master's pod is killed in mid-round" round_survives master-aggregator
    check "the federation finishes, every round as it must be" federation_finishes
    check "the autoscaler adds a worker under load" autoscaler_adds_a_worker
}

read_flags "$@"
require_a_cluster_without_a_federation
ask
scratch="$(mktemp -d)"
passed=0 failed=0 skipped=0 checking=""
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
bring_up
check "pods get ready" servers_are_ready
if ((failed == 0)); then # else the rest would say the same, and take hours for it
    check_servers
    check_rounds
fi
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((failed == 0)) || exit "$failed_status"
