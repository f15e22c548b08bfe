#!/usr/bin/env bash
# Shows the data root of the instance as a read-only folder on this laptop, to look at; Ctrl-C or -u takes it away.
#   deploy/sshfs-mount.sh HOST MOUNTPOINT [REMOTE_FOLDER]      deploy/sshfs-mount.sh -u MOUNTPOINT
# HOST is an SSH host, or an instance id (i-…): then SSH goes through Session Manager and needs your key on the instance.
set -euo pipefail
usage() { sed -n '2,4p' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ $# -ge 2 ] || usage
if [ "$1" = -u ]; then
  exec fusermount3 -u "$2"
fi
HOST="$1" POINT="$2" FOLDER="${3:-/data/vlm}"
OPTIONS=(-o "ro,reconnect,follow_symlinks,ServerAliveInterval=15,ServerAliveCountMax=3")
case "$HOST" in
  i-*)
    PROXY="aws ssm start-session --target %h --document-name AWS-StartSSHSession --parameters portNumber=%p"
    OPTIONS+=(-o "ProxyCommand=$PROXY")
    HOST="admin@$HOST"
    ;;
esac
command -v sshfs >/dev/null || { echo "sshfs is not installed (Debian: apt install sshfs)" >&2; exit 2; }
mkdir -p "$POINT"
sshfs "${OPTIONS[@]}" "$HOST:$FOLDER" "$POINT"
echo "$HOST:$FOLDER is at $POINT, read only; away with: $0 -u $POINT"
