#!/bin/sh
# Makes the keys, certificates and tokens of the federation of compose.yaml, those that are missing or about to expire, and
# gives each service what it needs of them: copies of its own, in a volume that it alone mounts, for the user that it runs
# as. Nothing here prints what it copies.
set -eu
umask 077

readonly OWNER=10001:10001
readonly MADE=/credentials

# What nginx passes on to workers was sent to nginx, or to a port of this machine.
fedtier credentials "$MADE" --federation compose \
    --server minio=localhost --server master=localhost \
    --server worker-1=nginx,localhost,127.0.0.1 --server worker-2=nginx,localhost,127.0.0.1 \
    --worker worker-1 --worker worker-2 --client client-0 --client client-1 --client client-2

# A new file takes the place of an old one in one step: whoever reads one meanwhile reads it whole. One that is the same
# stays, and nobody is told of a change.
give() { # SERVICE NAME, and what it holds on standard input
    rm -f "/given/$1/$2.new"
    cat >"/given/$1/$2.new"
    if cmp -s "/given/$1/$2.new" "/given/$1/$2"; then
        rm "/given/$1/$2.new"
        return
    fi
    chmod 0400 "/given/$1/$2.new"
    chown "$OWNER" "/given/$1/$2.new"
    mv -f "/given/$1/$2.new" "/given/$1/$2"
}

# S3's key, one part of it or as a file of the AWS tools.
s3() { # FORMAT
    python -c 'import json, sys; print(sys.argv[1].format(**json.load(open(sys.argv[2]))))' "$1" "$MADE/s3.json"
}
readonly AWS='[default]
aws_access_key_id = {access_key}
aws_secret_access_key = {secret_key}'

for server in master worker-1 worker-2; do
    # Key first: a server takes both when they belong together.
    give "$server" server-key.pem <"$MADE/servers/$server-key.pem"
    give "$server" server.pem <"$MADE/servers/$server.pem"
    give "$server" verify-key.pem <"$MADE/keys/verify-key.pem"
done
for member in master worker-1 worker-2 client-0 client-1 client-2 operator; do
    give "$member" ca.pem <"$MADE/authority/ca.pem"
done
for worker in worker-1 worker-2; do
    give "$worker" worker.token <"$MADE/tokens/worker-$worker.token"
done
for client in client-0 client-1 client-2; do
    give "$client" client.token <"$MADE/tokens/client-$client.token"
done
for member in master operator; do
    s3 "$AWS" | give "$member" s3-credentials
done
give operator operator.token <"$MADE/tokens/operator.token"

# MinIO looks for them by these names, and wants the folder of those whom it believes to be there.
for folder in /given/minio/certs /given/minio/certs/CAs; do
    mkdir -p "$folder"
    chmod 0755 "$folder"
done
give minio certs/private.key <"$MADE/servers/minio-key.pem"
give minio certs/public.crt <"$MADE/servers/minio.pem"
give minio certs/CAs/ca.pem <"$MADE/authority/ca.pem"
s3 '{access_key}' | give minio access-key
s3 '{secret_key}' | give minio secret-key
# A folder in its folder is a bucket to MinIO, which has none at first.
if [ ! -d /given/minio-data/fedtier ]; then
    mkdir -m 0755 /given/minio-data/fedtier
    chown "$OWNER" /given/minio-data/fedtier /given/minio-data
fi
