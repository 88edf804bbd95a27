#!/bin/sh
# SeaweedFS that takes the command line and the variables of MinIO:
# minio server FOLDER [--address [HOST]:PORT] [--console-address ...] [--certs-dir FOLDER]
# nginx in front answers where MinIO is asked for its health; everything else is S3's.
set -eu
if [ "$1" = --version ]; then
    echo "no MinIO: $(weed version)"
    exit
fi
[ "$1" = server ] || {
    echo "this stand-in for MinIO knows only: server FOLDER" >&2
    exit 2
}
shift
folder='' port=9000 certs=''
while [ $# -gt 0 ]; do
    case "$1" in
    --address) port="${2##*:}" && shift 2 ;;
    --address=*) port="${1##*:}" && shift ;;
    --console-address) shift 2 ;;
    --certs-dir) certs="$2" && shift 2 ;;
    --certs-dir=*) certs="${1#*=}" && shift ;;
    --console-address=* | --quiet | --json | --anonymous) shift ;;
    -*) echo "this stand-in for MinIO does not know $1" >&2 && exit 2 ;;
    *) folder="$1" && shift ;;
    esac
done
# Files come before variables; what is white at their ends is no part of it.
user="${MINIO_ROOT_USER:-minioadmin}" password="${MINIO_ROOT_PASSWORD:-minioadmin}"
[ -z "${MINIO_ROOT_USER_FILE:-}" ] || user="$(cat "$MINIO_ROOT_USER_FILE")"
[ -z "${MINIO_ROOT_PASSWORD_FILE:-}" ] || password="$(cat "$MINIO_ROOT_PASSWORD_FILE")"
tls=''
[ -z "$certs" ] || tls="ssl; ssl_certificate $certs/public.crt; ssl_certificate_key $certs/private.key"
run="$(mktemp -d)"
cat >"$run/s3.json" <<END
{"identities": [{"name": "root", "actions": ["Admin", "Read", "Write", "List", "Tagging"], "credentials": [
    {"accessKey": "$user", "secretKey": "$password"}]}]}
END
cat >"$run/nginx.conf" <<END
pid $run/nginx.pid;
error_log stderr warn;
events {}
http {
    access_log off;
    client_body_temp_path $run/body;
    proxy_temp_path $run/proxy;
    fastcgi_temp_path $run/fastcgi;
    uwsgi_temp_path $run/uwsgi;
    scgi_temp_path $run/scgi;
    client_max_body_size 0;
    server {
        listen $port $tls;
        location ~ ^/minio/health/(live|ready|cluster)\$ {
            rewrite ^ /healthz break;
            proxy_pass http://127.0.0.1:8333;
        }
        location / {
            proxy_pass http://127.0.0.1:8333;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host \$http_host;
            proxy_request_buffering off;
            proxy_buffering off;
        }
    }
}
END
# The first process is SeaweedFS: it is told to stop when the container is. No front, no answer: that shows by itself.
nginx -e stderr -c "$run/nginx.conf" -g 'daemon on;'
cd "$folder"
HOME="$run" exec weed -logtostderr=true mini -dir="$folder" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -s3.config="$run/s3.json" -s3.port=8333 -s3.iam=false -s3.port.iceberg=0 -s3.port.lance=0 \
    -filer.localSocket="$run/filer.sock" -s3.localSocket="$run/s3.sock" -admin.ui=false -webdav=false \
    -master.telemetry=false -volume.preStopSeconds=0
