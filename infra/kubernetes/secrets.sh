#!/usr/bin/env bash
# Makes the federation's keys, certificates and tokens here, and gives the cluster what its pods need of them, as Secrets.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/setup.sh"

manifests="$checkout/infra/kubernetes"
namespace=fedtier

usage() {
    cat <<'USAGE'
Usage: infra/kubernetes/secrets.sh [--clients N] [--name NAME ...] [--folder DIR] [--overlay NAME] [--print] [--context NAME]

Makes the federation's keys, certificates and tokens in infra/kubernetes/secrets/<federation>, and gives the cluster what
its pods need of them, as Secrets. Called again, it renews what has less than a third of its life left, and changes
nothing else. Keep that folder: it signs whoever may take part.

  --clients N        tokens for client-0 to client-<N-1>; by default as many as base/settings.yaml says
  --federation NAME  by default what base/settings.yaml says
  --name NAME        a further name or address of the workers, for clients outside: the load balancer's, a node's, your
                     own domain's; once for each. They are remembered until others are given
  --folder DIR       keep them there instead
  --overlay NAME     minikube, by default, or eks, where S3 is Amazon's and nothing is needed for one in the cluster
  --print            print the Secrets, and leave the cluster alone
  --context NAME     of kubectl; by default the current one

FEDTIER names the program fedtier, where it is not to be that of the checkout's virtual environment.
USAGE
}

# Print what the manifests say about a variable.
setting() {
    local value
    value="$(sed -n "s/^ *$1: \"\{0,1\}\([^\" ]*\).*/\1/p" "$manifests/base/settings.yaml")"
    [[ -n "$value" ]] || fail "base/settings.yaml says nothing of $1"
    printf '%s\n' "$value"
}

read_flags() {
    clients="" federation="" folder="" names=() overlay=minikube prints="" kubectl=(kubectl)
    while (($#)); do
        case "$1" in
            --clients | --federation | --folder | --name | --overlay | --context)
                (($# > 1)) && [[ -n "$2" ]] || fail "$1 needs a value"
                case "$1" in
                    --clients) clients="$2" ;;
                    --federation) federation="$2" ;;
                    --folder) folder="$2" ;;
                    --name)
                        [[ "$2" =~ ^[A-Za-z0-9*:][A-Za-z0-9.:*-]*$ ]] || fail "--name $2 is no name or address of a machine"
                        names+=("$2")
                        ;;
                    --overlay) overlay="$2" ;;
                    --context) kubectl+=(--context "$2") ;;
                esac
                shift 2
                ;;
            --*=*) # as two words
                set -- "${1%%=*}" "${1#*=}" "${@:2}"
                ;;
            --print) prints=1 && shift ;;
            --help | -h) usage && exit ;;
            *) fail "$1 is no argument of secrets.sh; see --help" ;;
        esac
    done
    clients="${clients:-$(setting FEDTIER_CLIENTS)}"
    federation="${federation:-$(setting FEDTIER_AUDIENCE)}"
    [[ "$clients" =~ ^[1-9][0-9]{0,5}$ ]] || fail "--clients is $clients, wanted a number from 1 on"
    [[ "$federation" =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || fail "--federation $federation cannot be the name of a folder"
    [[ "$overlay" == minikube || "$overlay" == eks ]] || fail "--overlay is $overlay, wanted minikube or eks"
    folder="${folder:-$manifests/secrets/$federation}"
}

# Print a Service's names inside of the cluster, and by which kubectl port-forward brings it to a machine.
names_of_service() {
    printf '%s' "$1.$namespace,$1.$namespace.svc,$1.$namespace.svc.cluster.local,localhost,127.0.0.1"
}

# Make what is missing or about to expire.
make_credentials() {
    local given=() name number remembered="$folder/worker-names"
    if ((${#names[@]} == 0)) && [[ -f "$remembered" ]]; then
        while read -r name; do
            names+=("$name")
        done <"$remembered"
    fi
    for ((number = 0; number < clients; number++)); do
        given+=(--client "client-$number")
    done
    if [[ "$overlay" == minikube ]]; then
        given+=(--server "s3=$(names_of_service s3)")
    fi
    "$fedtier" credentials "$folder" --federation "$federation" --worker worker-aggregator "${given[@]}" \
        --server "master-aggregator=$(names_of_service master-aggregator)" \
        --server "worker-aggregator=$(names_of_service worker-aggregator)$(printf ',%s' ${names[@]+"${names[@]}"})" >&2
    if ((${#names[@]})); then
        printf '%s\n' "${names[@]}" >"$remembered"
    fi
}

# Print a Secret: what kubectl create secret is told.
secret() {
    printf -- '---\n'
    kubectl create secret "$@" --namespace "$namespace" --dry-run=client --output yaml
}

secret_tls() {
    secret tls "$1-tls" --cert "$folder/servers/$1.pem" --key "$folder/servers/$1-key.pem"
}

# Print the pair of keys of the S3 in the cluster, as AWS' tools read it.
aws_credentials() {
    sed -n 's/.*"access_key": "\([^"]*\)", "secret_key": "\([^"]*\)".*/[default]\naws_access_key_id = \1\naws_secret_access_key = \2/p' "$folder/s3.json"
}

# Print all Secrets. The keys that sign tokens and certificates are in none of them.
secrets() {
    local number tokens=()
    for ((number = 0; number < clients; number++)); do
        tokens+=(--from-file "client-$number.token=$folder/tokens/client-client-$number.token")
    done
    secret generic authority --from-file "ca.pem=$folder/authority/ca.pem"
    secret generic verify-keys --from-file "verify-key.pem=$folder/keys/verify-key.pem"
    secret_tls master-aggregator
    secret_tls worker-aggregator
    secret generic worker-token --from-file "token=$folder/tokens/worker-worker-aggregator.token"
    secret generic client-tokens "${tokens[@]}"
    if [[ "$overlay" == minikube ]]; then
        secret_tls s3
        secret generic s3-credentials --from-file "credentials=$scratch/credentials"
        secret generic s3-identity --from-file "s3.json=$folder/s3.json"
    fi
}

read_flags "$@"
command -v kubectl >/dev/null || fail "kubectl is not installed"
fedtier="${FEDTIER:-}"
if [[ -z "$fedtier" ]]; then
    set_up server
    fedtier="$venv/bin/fedtier"
fi
umask 077
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
make_credentials
aws_credentials >"$scratch/credentials"
secrets >"$scratch/secrets.yaml"
if [[ -n "$prints" ]]; then
    cat "$scratch/secrets.yaml"
    exit
fi
"${kubectl[@]}" get namespace "$namespace" >/dev/null 2>&1 || "${kubectl[@]}" apply --filename "$manifests/base/namespace.yaml"
# By the server, which keeps no second copy of the secrets in an annotation.
"${kubectl[@]}" apply --server-side --force-conflicts --field-manager fedtier-secrets --filename "$scratch/secrets.yaml"
say "pods that run have new certificates and the workers' token within about a minute; clients have their tokens at their start"
