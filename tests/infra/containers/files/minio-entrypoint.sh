#!/bin/sh
# What is no command is an argument of the server's, as in the real image.
if [ "$1" != minio ]; then
    set -- minio "$@"
fi
exec "$@"
