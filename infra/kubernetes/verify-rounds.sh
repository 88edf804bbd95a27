# shellcheck shell=bash
# Sourced by verify-cluster.sh: what becomes of rounds while pods are killed, one function for each point. It prints the
# reason for its verdict.
# shellcheck disable=SC2154 # patience and scratch are set by verify-cluster.sh

in_master() {
    k exec master-aggregator-0 --container master-aggregator -- "$@"
}

# Print how the open round stands: its number, the newest published one, clients counted, clients wanted, and the state.
standing() {
    # shellcheck disable=SC2016 # expanded in the pod
    k exec --stdin master-aggregator-0 --container master-aggregator -- sh -c '
read -r FEDTIER_TOKEN && export FEDTIER_TOKEN && fedtier status --server "https://$0:$FEDTIER_PORT" --json | python -c "
import json, sys
now = json.load(sys.stdin)
print(now[\"round\"], now[\"base\"][\"round\"], now[\"counted\"], now[\"threshold\"], now[\"state\"])"' 127.0.0.1 \
        <"$scratch/credentials/tokens/operator.token"
}

is_mid_round() {
    local round counted wanted state
    read -r round _ counted wanted state < <(standing) || return 1
    [[ "$state" == collecting ]] && ((counted > 0 && counted < wanted)) && printf '%s\n' "$round" >"$scratch/round"
}

is_published() {
    local newest
    read -r _ newest _ < <(standing) || return 1
    ((newest >= $1))
}

is_finished() {
    [[ "$(standing)" == *finished ]]
}

first_client() {
    k get pods --selector app.kubernetes.io/component=client,batch.kubernetes.io/job-completion-index=0 \
        --field-selector status.phase=Running --output 'jsonpath={.items[0].metadata.name}'
}

has_first_client() {
    [[ -n "$(first_client)" ]]
}

# Kill a pod of a component while some clients of a round are counted and others are not, which a client sees to that has
# to begin again; then look at what the round became.
round_survives() {
    local victim round
    eventually has_first_client || { printf 'client-0 does not run' && return 1; }
    k delete pod "$(first_client)" --wait=false >/dev/null
    eventually is_mid_round || { printf 'no round was seen half counted: %s' "$(standing)" && return 1; }
    round="$(<"$scratch/round")"
    victim="$(pods_of "$1" | head -n 1)"
    k delete pod "$victim" --grace-period=0 --force >/dev/null 2>&1
    eventually is_published "$round" || { printf 'round %s is not published: %s' "$round" "$(standing)" && return 1; }
    round_is_whole "$round"
    printf 'round %s without %s: every client counted once' "$round" "$victim"
}

# A round's digests are right, and each of the clients is in it, once.
round_is_whole() {
    local wanted
    in_master fedtier verify "$1" >"$scratch/verdict" || { printf 'round %s: ' "$1" && cat "$scratch/verdict" && return 1; }
    wanted="$(k get job clients --output 'jsonpath={.spec.completions}')"
    # shellcheck disable=SC2016 # expanded in the pod
    in_master sh -c 'fedtier show "$0" --all --json | python -c "
import json, sys
found = sorted(one[\"client_id\"] for one in json.load(sys.stdin)[\"manifest\"][\"contributors\"])
wanted = sorted(f\"client-{number}\" for number in range(int(sys.argv[1])))
sys.exit(0 if found == wanted else f\"counted were {found}\")" "$1"' "$1" "$wanted"
}

federation_finishes() {
    eventually is_finished || { printf 'it does not: %s' "$(standing)" && return 1; }
    in_master fedtier verify --all >"$scratch/verdict" || { cat "$scratch/verdict" && return 1; }
    k wait job/clients --for condition=Complete --timeout "${patience}s" >/dev/null
    printf 'all clients ended well'
}
