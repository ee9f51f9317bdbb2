#!/bin/sh
# Hands the data directory to the server's user, then becomes the server (process 1: it gets the signals) as that user.
set -eu
user=10001
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PDS_DATA_DIRECTORY"
    if [ "$(stat -c %u "$PDS_DATA_DIRECTORY")" != "$user" ]; then
        # The directory itself comes last: it tells the next start that the rest is done.
        find "$PDS_DATA_DIRECTORY" -mindepth 1 -exec chown -h "$user:$user" {} +
        chown "$user:$user" "$PDS_DATA_DIRECTORY"
    fi
    exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs "$@"
fi
exec "$@"
