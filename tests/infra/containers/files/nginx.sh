#!/bin/sh
# Debian's nginx as the official one is: its stream module needs no load_module. Settings of -g are joined to that.
directives='load_module /usr/lib/nginx/modules/ngx_stream_module.so;'
count=$#
while [ "$count" -gt 0 ]; do
    if [ "$1" = -g ] && [ "$count" -gt 1 ]; then
        directives="$directives $2"
        shift 2
        count=$((count - 2))
    else
        set -- "$@" "$1"
        shift
        count=$((count - 1))
    fi
done
exec /usr/sbin/nginx -g "$directives" "$@"
