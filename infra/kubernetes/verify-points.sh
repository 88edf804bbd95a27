# shellcheck shell=bash
# Sourced by verify-cluster.sh: what is found out of servers, network and rights, one function for each point. It prints the
# reason for its verdict.
# shellcheck disable=SC2154 # overlay, namespace, elsewhere, patience, every, load, scratch are set by verify-cluster.sh

skip=77 # the status of a point that cannot be found out here

# Try something again until it works, for as many looks as there are in the time that one is patient.
eventually() {
    local looks=$((patience / every))
    until "$@" >/dev/null 2>&1; do
        looks=$((looks - 1))
        ((looks > 0)) || return 1
        sleep "$every"
    done
}

pods_of() {
    k get pods --selector "app.kubernetes.io/component=$1" --field-selector status.phase=Running \
        --output 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}'
}

servers_are_ready() {
    local sets=(statefulset/master-aggregator deployment/worker-aggregator) one
    [[ "$overlay" != minikube ]] || sets+=(statefulset/s3)
    for one in "${sets[@]}"; do
        k rollout status "$one" --timeout "${patience}s" >/dev/null || {
            printf '%s is not ready after %s s: ' "$one" "$patience"
            k get pods
            return 1
        }
    done
    printf 'master, and %s workers' "$(pods_of worker-aggregator | wc -l)"
}

load_balancer_finds_workers() {
    [[ "$overlay" == eks ]] || { printf 'minikube has none' && return "$skip"; }
    eventually has_address || { printf 'the Service worker-aggregator-outside has no address' && return 1; }
    # Only pods that are made when it is there wait to be ready until it finds them healthy.
    k rollout restart deployment/worker-aggregator >/dev/null
    k rollout status deployment/worker-aggregator --timeout "${patience}s" >/dev/null || {
        printf '%s finds no new worker healthy' "$(address)"
        return 1
    }
    eventually wait_for_it || { printf 'workers are ready without %s: %s' "$(address)" "$(gates)" && return 1; }
    printf '%s' "$(address)"
}

# Print for each worker's pod what its readiness waits for besides its own probe.
gates() {
    k get pods --selector app.kubernetes.io/component=worker-aggregator \
        --output 'jsonpath={range .items[*]}{.metadata.name} {.spec.readinessGates[*].conditionType}{"\n"}{end}'
}

wait_for_it() {
    ! gates | grep -qv ' target-health.elbv2.k8s.aws/'
}

address() {
    k get service worker-aggregator-outside --output 'jsonpath={.status.loadBalancer.ingress[0].hostname}'
}

has_address() {
    [[ -n "$(address)" ]]
}

# A pod that only waits to be told what to try: its name, its namespace, its component.
probing_pod() {
    cat <<POD
apiVersion: v1
kind: Pod
metadata:
  name: $1
  namespace: $2
  labels: { app.kubernetes.io/name: $4, app.kubernetes.io/component: $3 }
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 1
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: probe
      image: $image
      command: [sleep, infinity]
      resources:
        requests: { cpu: 50m, memory: 64Mi }
        limits: { cpu: "2", memory: 256Mi }
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
POD
}

start_probing_pods() {
    local image
    image="$(k get deployment worker-aggregator --output 'jsonpath={.spec.template.spec.containers[0].image}')"
    {
        probing_pod probe-client "$namespace" client fedtier
        printf -- '---\n'
        probing_pod probe-stranger "$namespace" stranger nobody
        printf -- '---\n'
        probing_pod probe-outsider "$elsewhere" client fedtier
    } >"$scratch/probes.yaml"
    in_cluster apply --filename "$scratch/probes.yaml" >/dev/null
    in_cluster wait --for condition=Ready --timeout "${patience}s" --filename "$scratch/probes.yaml" >/dev/null
    printf 'two in %s, one in %s' "$namespace" "$elsewhere"
}

# Try to connect, from a pod of a namespace to a port of a host: prints reached, or denied. A name that is not found is
# neither, and an error.
connect() {
    in_cluster --namespace "$1" exec "$2" -- python -c '
import socket, sys
where = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), type=socket.SOCK_STREAM)[0][4]
try:
    socket.create_connection(where[:2], 5).close()
    print("reached")
except OSError:
    print("denied")' "$3" "$4"
}

# Ask for many a thing over connections of their own, from the client's pod.
ask_workers() {
    k exec probe-client -- python -c '
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is said that others may not know
for _ in range(int(sys.argv[1])):
    with socket.create_connection(tuple(sys.argv[2:]), 10) as plain, context.wrap_socket(plain) as connection:
        connection.sendall(b"GET /v1/openapi.json HTTP/1.1\r\nHost: worker-aggregator\r\nConnection: close\r\n\r\n")
        while connection.recv(1 << 16):
            pass' "$1" worker-aggregator 5001
}

# Print how often a worker's pod was asked for a route.
times_asked() {
    k exec --stdin "$1" -- python -c '
import os, ssl, sys, urllib.request
context = ssl.create_default_context(cafile=os.environ["FEDTIER_CA_CERTS"])
address = "https://%s:%s/metrics" % (sys.argv[1], os.environ["FEDTIER_PORT"])
request = urllib.request.Request(address, headers={"Authorization": "Bearer " + sys.stdin.read().strip()})
lines = urllib.request.urlopen(request, context=context, timeout=30).read().decode().splitlines()
found = [line for line in lines if line.startswith("fedtier_requests_total{") and sys.argv[2] in line]
print(int(sum(float(line.rpartition(" ")[2]) for line in found)))' 127.0.0.1 "$2" \
        <"$scratch/credentials/tokens/operator.token"
}

requests_are_spread() {
    local pods pod before=() number=0 after told="" status=0
    pods="$(pods_of worker-aggregator)"
    for pod in $pods; do
        before+=("$(times_asked "$pod" openapi.json)")
    done
    ((${#before[@]} > 1)) || { printf 'there is only one worker' && return 1; }
    ask_workers 40
    for pod in $pods; do
        after="$(times_asked "$pod" openapi.json)"
        told+="$pod got $((after - before[number])), "
        ((after > before[number])) || status=1
        number=$((number + 1))
    done
    printf '%s of 40 requests' "${told%, }"
    return "$status"
}

client_reaches_workers() {
    local found
    found="$(connect "$namespace" probe-client worker-aggregator 5001)"
    printf 'worker-aggregator port 5001: %s' "$found"
    [[ "$found" == reached ]]
}

# What a pod must not reach: its namespace, its name, then host and port in turn.
reaches_none_of() {
    local from="$1" pod="$2" found all=""
    shift 2
    while (($#)); do
        found="$(connect "$from" "$pod" "$1" "$2")" || { printf 'cannot be tried: %s' "$found" && return 1; }
        [[ "$found" == denied ]] || { printf '%s port %s is %s; are NetworkPolicies in force?' "$1" "$2" "$found" && return 1; }
        all+="$1 port $2, "
        shift 2
    done
    printf 'denied: %s' "${all%, }"
}

client_is_kept_from_master() {
    reaches_none_of "$namespace" probe-client master-aggregator 5000 tensorboard 6006
}

stranger_reaches_nothing() {
    local others=()
    [[ "$overlay" != minikube ]] || others+=(s3 8333)
    reaches_none_of "$namespace" probe-stranger master-aggregator 5000 worker-aggregator 5001 tensorboard 6006 \
        kubernetes.default 443 ${others[@]+"${others[@]}"}
}

outsider_is_kept_from_master() {
    reaches_none_of "$elsewhere" probe-outsider "master-aggregator.$namespace" 5000 "tensorboard.$namespace" 6006
}

privileged_pod_is_refused() {
    local said
    if said="$(k apply --dry-run=server --filename - 2>&1 <<'POD'
apiVersion: v1
kind: Pod
metadata: { name: privileged }
spec:
  containers:
    - { name: privileged, image: "registry.k8s.io/pause:3.10", securityContext: { privileged: true } }
POD
    )"; then
        printf 'it is taken'
        return 1
    fi
    [[ "$said" == *PodSecurity* ]] || { printf '%s' "$said" && return 1; }
    printf 'by pod security'
}

roots_are_read_only() {
    local pod said
    for pod in master-aggregator-0 $(pods_of worker-aggregator); do
        # Where it is not read-only the error is another: permission denied.
        if said="$(k exec "$pod" -- python -c 'open("/opt/written", "w")' 2>&1)"; then
            printf '%s wrote to its root' "$pod"
            return 1
        fi
        [[ "$said" == *Read-only\ file\ system* ]] || { printf '%s: %s' "$pod" "${said##*$'\n'}" && return 1; }
    done
    printf 'of the master and of every worker'
}

autoscaler() {
    k get horizontalpodautoscaler worker-aggregator --output "jsonpath={$1}"
}

sees_metrics() {
    [[ "$(autoscaler '.status.conditions[?(@.type=="ScalingActive")].status')" == True ]]
}

autoscaler_sees_metrics() {
    eventually sees_metrics || {
        printf '%s; is metrics-server there?' "$(autoscaler '.status.conditions[?(@.type=="ScalingActive")].message')"
        return 1
    }
    printf '%s %% of what is asked for' "$(autoscaler '.status.currentMetrics[0].resource.current.averageUtilization')"
}

has_more_workers_than() {
    (($(autoscaler .status.desiredReplicas) > $1))
}

autoscaler_adds_a_worker() {
    [[ -n "$load" ]] || { printf 'not asked for; --load does' && return "$skip"; }
    local before loads=() one status=0
    before="$(autoscaler .status.desiredReplicas)"
    for one in 1 2 3 4; do
        ask_workers 1000000 >"$scratch/load-$one" 2>&1 &
        loads+=($!)
    done
    eventually has_more_workers_than "$before" || status=$?
    kill "${loads[@]}" 2>/dev/null || true
    wait "${loads[@]}" 2>/dev/null || true
    printf 'from %s to %s' "$before" "$(autoscaler .status.desiredReplicas)"
    return "$status"
}
