#!/usr/bin/env bash
# Makes a fresh instance work: installs, reads its settings, mounts, restores what the volume lacks, starts. May be run
# again at any time. ROOT_PREFIX=DIR rehearses it in a plain directory tree: folders for volumes, no units started.
set -euo pipefail
P="${ROOT_PREFIX:-}"
APP="$P/opt/vlm-assets"
export VLM_VENV="${VLM_VENV:-$APP/.venv}"
RUN="$P/run/vlm-assets"
say() { printf '\n== %s\n' "$*"; }

say "Packages"
# shellcheck source=deploy/setup.sh
source "$APP/deploy/setup.sh"
install_system_packages pdftoppm:poppler-utils curl:curl
install_python_packages

say "Settings"
set -a
# shellcheck disable=SC1091
source "$P/etc/vlm-assets/stack.env"
set +a
mkdir -p "$RUN"
"$VLM_VENV/bin/python" "$APP/deploy/aws/environment.py" "$RUN"
set -a
# shellcheck disable=SC1091
source "$RUN/vlm.env"
# shellcheck disable=SC1091
source "$RUN/volumes.env"
set +a

NEW=""
if [ -z "$P" ]; then
  say "Volumes"
  # shellcheck source=deploy/aws/volumes.sh
  source "$APP/deploy/aws/volumes.sh"
  mount_volume "$DATA_VOLUME" vlm-data /data
  mount_volume "$HOME_VOLUME" vlm-home /var/lib/vlm-assets
else
  mkdir -p "$P/data" "$P/var/lib/vlm-assets"
  [ -e "$P/data/vlm" ] || NEW="vlm-data"
fi

say "Data root"
if [ -n "$P" ]; then
  export VLM_DATA_ROOT="$P$VLM_DATA_ROOT" DAGSTER_HOME="$P$DAGSTER_HOME"
fi
mkdir -p "$VLM_DATA_ROOT" "$DAGSTER_HOME"
# The marker is made on a new volume only: an unmounted one stays refused.
case "$NEW" in *vlm-data*) touch "$VLM_DATA_ROOT/.vlm_root" ;; esac
ln -sfn "$APP/dagster.yaml" "$DAGSTER_HOME/dagster.yaml"
case "$NEW" in *vlm-data*)
  say "Restore"
  "$VLM_VENV/bin/vlm-assets" restore || echo "restore is not complete; run it again: vlm-assets restore" >&2
  ;;
esac
mkdir -p "$P/usr/local/bin"
install -m 0755 "$APP/deploy/aws/as-service.sh" "$P/usr/local/bin/vlm-assets"
if [ -z "$P" ]; then
  chown -R vlm:vlm "$VLM_DATA_ROOT" "$DAGSTER_HOME"

  say "Services"
  install -m 0644 "$APP"/deploy/systemd/*.service "$APP"/deploy/systemd/*.timer /etc/systemd/system/
  systemctl daemon-reload
  systemctl enable --now vlm-environment
  for unit in "$APP"/deploy/systemd/*.timer; do systemctl enable --now "$(basename "$unit")"; done
  if /usr/local/bin/vlm-assets check; then
    systemctl enable --now vlm-code-server vlm-daemon vlm-webserver
  else
    echo "put the catalogue into $VLM_CATALOG, then: systemctl enable --now vlm-code-server vlm-daemon vlm-webserver" >&2
  fi
fi
say "Done"
