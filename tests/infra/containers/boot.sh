#!/usr/bin/env bash
# Namespaces in which podman and its containers live until standard input ends. Whoever started it holds the other end;
# when that lets go or dies, the first process in there ends, and the kernel ends everything else and unmounts it.
# Then this removes what a kernel keeps of containers that were killed: control groups, and the folder of their files.
# usage: boot.sh FOLDER own|shared     whether the network is one of its own or the machine's
set -euo pipefail
folder="$1" network="$2"
name="fedtier-test-${folder//\//-}"

# Each hierarchy of control groups: one of version 2, or several of version 1.
hierarchies() {
    awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/self/mounts
}

prepare() {
    # Podman keeps states, locks and caches by names that are the same for everybody.
    mount -t tmpfs tmpfs /run
    mkdir -p /run/lock
    mount -t tmpfs tmpfs /dev/shm
    mkdir -p /var/lib/containers
    mount -t tmpfs tmpfs /var/lib/containers
    local hierarchy
    for hierarchy in $(hierarchies); do
        mount --bind "$hierarchy/$name" "$hierarchy"
        if [[ -e "$hierarchy/cgroup.controllers" ]]; then
            # Version 2 lets a group have processes or limited groups within, not both.
            mkdir "$hierarchy/first"
            echo 0 >"$hierarchy/first/cgroup.procs"
        fi
    done
    if [[ "$network" == own ]]; then
        ip link set lo up
        # Between a bridge's network and the rest of this namespace; the machine's setting stays as it is.
        echo 1 >/proc/sys/net/ipv4/ip_forward
    fi
}

if [[ "$$" == 1 ]]; then
    prepare
    echo ready
    exec >/dev/null
    cat >/dev/null
    exit
fi

for hierarchy in $(hierarchies); do
    mkdir "$hierarchy/$name"
    for setting in cpuset.cpus cpuset.mems; do
        # Version 1 lets nothing run in a group without them.
        if [[ -e "$hierarchy/$setting" ]]; then
            cat "$hierarchy/$setting" >"$hierarchy/$name/$setting"
        fi
    done
done
separate=(--cgroup --mount --pid --fork --kill-child --mount-proc)
if [[ "$network" == own ]]; then
    separate+=(--net)
fi
status=0
(
    for hierarchy in $(hierarchies); do
        echo 0 >"$hierarchy/$name/cgroup.procs"
    done
    exec unshare "${separate[@]}" bash "${BASH_SOURCE[0]}" "$@"
) || status=$?
for hierarchy in $(hierarchies); do
    find "$hierarchy/$name" -depth -type d -exec rmdir {} + || true
done
rm -rf --one-file-system "$folder"
exit "$status"
