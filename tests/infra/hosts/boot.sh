#!/usr/bin/env bash
# PID 1 of namespaces made for one host: mounts its root and runs it, also after a reboot, until standard input ends.
# Whoever started it holds the other end; when that lets go or dies, this exits, and with it everything goes at once.
# usage: boot.sh BASE FOLDER "CGROUP ..." [argument of systemd-nspawn] ...
set -euo pipefail
base="$1" folder="$2" cgroups="$3"
shift 3

for cgroup in $cgroups; do
    echo 0 >"$cgroup/cgroup.procs"
done
# systemd-nspawn leaves folders there, by names that hosts of other tests have too.
mount -t tmpfs tmpfs /run
mount -t overlay overlay -o "lowerdir=$base,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"

cat >/dev/null <&0 &
holder=$!
# What systemd-nspawn exits with when the host wants to be started again.
rebooted=133
status="$rebooted"
while ((status == rebooted)); do
    systemd-nspawn --directory="$folder/root" "$@" </dev/null &
    status=0
    wait -n -p ended "$holder" "$!" || status=$?
    if [[ "$ended" == "$holder" ]]; then
        exit 0
    fi
done
exit "$status"
