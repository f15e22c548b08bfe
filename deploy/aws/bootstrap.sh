#!/usr/bin/env bash
# Makes a fresh instance work: mounts, installs, restores what the volume lacks, starts. May be run again at any time.
# ROOT_PREFIX=DIR rehearses it in a plain directory tree: folders for volumes, no units started.
set -euo pipefail
P="${ROOT_PREFIX:-}"
APP="$P/opt/vlm-assets"
export VLM_VENV="${VLM_VENV:-$APP/.venv}"
say() { printf '\n== %s\n' "$*"; }

blank_disks() { # disks without partitions or file system, largest first
  lsblk -bdnpo SIZE,NAME,TYPE | sort -rn | while read -r _ disk kind; do
    [ "$kind" = disk ] || continue
    [ "$(lsblk -nro NAME "$disk" | wc -l)" -eq 1 ] && [ -z "$(blkid -o value -s TYPE "$disk")" ] && echo "$disk"
  done
}

# A volume is known by its label. One that has none yet is blank: the larger one becomes data. Never formats a disk
# that holds anything.
mount_volume() { # label mountpoint
  local label="$1" point="$2" disk uuid
  if ! disk="$(blkid -L "$label")"; then
    if [ "$label" = vlm-data ]; then disk="$(blank_disks | head -1)"; else disk="$(blank_disks | tail -1)"; fi
    [ -n "$disk" ] || { echo "no volume labelled $label and no blank one" >&2; return 1; }
    mkfs.xfs -q -L "$label" "$disk"
    NEW="$NEW $label"
  fi
  uuid="$(blkid -o value -s UUID "$disk")"
  mkdir -p "$point"
  grep -q "UUID=$uuid " /etc/fstab ||
    echo "UUID=$uuid $point xfs defaults,noatime,nofail,x-systemd.device-timeout=120 0 2" >>/etc/fstab
  mountpoint -q "$point" || mount "$point"
}

NEW=""
if [ -z "$P" ]; then
  say "Volumes"
  for _ in $(seq 60); do # the attachments come some seconds after the instance
    if { blkid -L vlm-data && blkid -L vlm-home; } >/dev/null || [ "$(blank_disks | wc -l)" -ge 2 ]; then break; fi
    sleep 5
  done
  mount_volume vlm-data /data
  mount_volume vlm-home /var/lib/vlm-assets
else
  mkdir -p "$P/data" "$P/var/lib/vlm-assets"
  [ -e "$P/data/vlm" ] || NEW="vlm-data"
fi

say "Packages"
# shellcheck disable=SC1091
source "$APP/deploy/setup.sh"
install_system_packages pdftoppm:poppler-utils curl:curl
install_python_packages

say "Data root"
set -a
# shellcheck disable=SC1091
source "$P/etc/vlm-assets/vlm.env"
set +a
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
if [ -z "$P" ]; then
  chown -R vlm:vlm "$VLM_DATA_ROOT" "$DAGSTER_HOME"
  chgrp vlm /etc/vlm-assets/vlm.env

  say "Services"
  install -m 0644 "$APP"/deploy/systemd/*.service "$APP"/deploy/systemd/*.timer /etc/systemd/system/
  systemctl daemon-reload
  if "$VLM_VENV/bin/vlm-assets" check; then
    systemctl enable --now vlm-code-server vlm-daemon vlm-webserver vlm-metrics.timer
  else
    echo "put the catalogue into $VLM_CATALOG, then: systemctl enable --now vlm-code-server vlm-daemon vlm-webserver vlm-metrics.timer" >&2
  fi
fi
say "Done"
