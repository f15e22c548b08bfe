#!/usr/bin/env bash
# Opens the UI of the instance on this laptop, through Session Manager: no key, no open port.
#   deploy/aws/tunnel.sh INSTANCE_ID [LOCAL_PORT]
# Needs the AWS CLI with its session-manager-plugin. Over plain SSH instead:  ssh -N -L 3000:127.0.0.1:3000 HOST
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,4p' "${BASH_SOURCE[0]}" >&2; exit 2; }
PORT="${2:-3000}"
echo "http://127.0.0.1:$PORT - Ctrl-C closes it"
exec aws ssm start-session --target "$1" --document-name AWS-StartPortForwardingSession \
  --parameters "portNumber=3000,localPortNumber=$PORT"
