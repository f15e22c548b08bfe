#!/usr/bin/env bash
# Upgrades the instance to a version without losing a running backfill. Run on the instance as root.
#   deploy/aws/upgrade.sh TAG [--now]
# The daemon goes first: nothing new starts, queue and backfills stay in the storage. Then it waits until the runs under
# way have ended; --now ends them instead, and run_retries starts them again, where they were.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,5p' "${BASH_SOURCE[0]}" >&2; exit 2; }
APP=/opt/vlm-assets
set -a
for file in /etc/vlm-assets/vlm.env /run/vlm-assets/vlm.env; do
  # shellcheck disable=SC1090
  if [ -e "$file" ]; then source "$file"; fi
done
set +a
running() {
  "$APP/.venv/bin/python" - <<'PY'
import dagster as dg

with dg.DagsterInstance.get() as instance:
    states = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    print(instance.get_runs_count(dg.RunsFilter(statuses=states)))
PY
}
cd "$APP"
git fetch --tags --quiet
git rev-parse --verify --quiet "$1^{commit}" >/dev/null || { echo "no version $1" >&2; exit 2; }
systemctl stop vlm-daemon
if [ "${2:-}" != --now ]; then
  while [ "$(running)" != 0 ]; do
    echo "$(running) runs under way; waiting"
    sleep 30
  done
fi
systemctl stop vlm-webserver vlm-code-server
git checkout --quiet "$1"
# shellcheck disable=SC1091
source deploy/setup.sh
install_python_packages
.venv/bin/dagster instance migrate
install -m 0644 deploy/systemd/*.service deploy/systemd/*.timer /etc/systemd/system/
install -m 0755 deploy/aws/as-service.sh /usr/local/bin/vlm-assets
systemctl daemon-reload
systemctl enable vlm-environment
for unit in deploy/systemd/*.timer; do systemctl enable --now "$(basename "$unit")"; done  # a version may bring new ones
systemctl start vlm-code-server vlm-daemon vlm-webserver
echo "at $1: $(git describe --always)"
