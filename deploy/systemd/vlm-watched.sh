#!/usr/bin/env bash
# Runs a service under systemd's watchdog: tells it is ready when the check passes, and pings while it keeps passing.
# A service that hangs gets no ping and is restarted after WatchdogSec.   vlm-watched.sh 'CHECK' COMMAND…
set -um # -m: without it the child ignores SIGINT, and Dagster then gives SIGTERM the same handler
check="$1"
shift
"$@" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM INT
tell() { [ -z "${NOTIFY_SOCKET:-}" ] || systemd-notify "$@"; }

ready=
while kill -0 "$child" 2>/dev/null; do
  if timeout 30 bash -c "$check" >/dev/null 2>&1; then
    [ -n "$ready" ] || tell --ready --status="answers"
    ready=yes
    tell WATCHDOG=1
    pause=20
  else
    pause=2
  fi
  sleep "$pause" &
  wait -n "$child" $! # ends early when the service ends, or on a signal
done
wait "$child"
