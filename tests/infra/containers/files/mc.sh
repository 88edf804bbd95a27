#!/bin/sh
# As much of MinIO's client as a health check calls: mc [--insecure] ready ALIAS, which is the variable MC_HOST_<ALIAS>.
set -eu
insecure=''
[ "$1" != --insecure ] || { insecure=--insecure && shift; }
[ "$1" = ready ] || {
    echo "this stand-in for mc knows only: ready ALIAS" >&2
    exit 2
}
url="$(printenv "MC_HOST_$2")"
exec curl --silent --show-error --fail --output /dev/null $insecure "$url/minio/health/cluster"
