#!/bin/sh
# Gives each service of compose.yaml what it needs of keys, certificates, tokens and data, and nothing else: a copy of its
# own, in a volume that it alone mounts, for the user that it runs as alone. Nothing here prints what it copies.
set -eu
umask 077

readonly OWNER=10001:10001
readonly SECRETS=/credentials/federation
readonly SHARDS=/data/shards

# A new file takes the place of an old one in one step: whoever reads one meanwhile reads it whole.
give() { # SERVICE NAME, and what it holds on standard input
    rm -f "/given/$1/$2.new"
    cat >"/given/$1/$2.new"
    chmod 0400 "/given/$1/$2.new"
    chown "$OWNER" "/given/$1/$2.new"
    mv -f "/given/$1/$2.new" "/given/$1/$2"
}

# S3's key, one part of it or as a file of the AWS tools.
s3() { # FORMAT
    python -c 'import json, sys; print(sys.argv[1].format(**json.load(open(sys.argv[2]))))' "$1" "$SECRETS/s3.json"
}
readonly AWS='[default]
aws_access_key_id = {access_key}
aws_secret_access_key = {secret_key}'

for server in master worker-1 worker-2; do
    # Key first: a server takes both when they belong together.
    give "$server" server-key.pem <"$SECRETS/servers/$server-key.pem"
    give "$server" server.pem <"$SECRETS/servers/$server.pem"
    give "$server" verify-key.pem <"$SECRETS/keys/verify-key.pem"
done
for member in bucket master worker-1 worker-2 client-0 client-1 client-2 operator; do
    give "$member" ca.pem <"$SECRETS/authority/ca.pem"
done
for worker in worker-1 worker-2; do
    give "$worker" worker.token <"$SECRETS/tokens/worker-$worker.token"
done
for client in client-0 client-1 client-2; do
    give "$client" client.token <"$SECRETS/tokens/client-$client.token"
    give "$client" data.safetensors <"$SHARDS/$client.safetensors"
done
for member in bucket master operator; do
    s3 "$AWS" | give "$member" s3-credentials
done
give operator operator.token <"$SECRETS/tokens/operator.token"
give master initial.safetensors <"$SHARDS/initial.safetensors"

# MinIO looks for them by these names, and wants the folder of those whom it believes to be there.
for folder in /given/minio/certs /given/minio/certs/CAs; do
    mkdir -p "$folder"
    chmod 0755 "$folder"
done
give minio certs/private.key <"$SECRETS/servers/minio-key.pem"
give minio certs/public.crt <"$SECRETS/servers/minio.pem"
give minio certs/CAs/ca.pem <"$SECRETS/authority/ca.pem"
s3 '{access_key}' | give minio access-key
s3 '{secret_key}' | give minio secret-key
chown "$OWNER" /given/minio-data
