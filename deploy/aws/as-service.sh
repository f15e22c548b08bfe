#!/usr/bin/env bash
# vlm-assets with the account and the settings of the services; bootstrap.sh puts it into /usr/local/bin.
set -euo pipefail
P="${ROOT_PREFIX:-}"
set -a
for file in "$P/etc/vlm-assets/vlm.env" "$P/run/vlm-assets/vlm.env"; do
  # shellcheck disable=SC1090
  if [ -e "$file" ]; then source "$file"; fi
done
set +a
account=()
[ "$(id -u)" -ne 0 ] || [ -n "$P" ] || account=(runuser -u vlm --)
cd "$P/opt/vlm-assets"
exec "${account[@]}" "$P/opt/vlm-assets/.venv/bin/vlm-assets" "$@"
