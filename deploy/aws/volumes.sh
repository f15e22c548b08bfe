# Sourced by bootstrap.sh: volumes are known by their ids, as the stack wrote them down; no other disk is looked at.

disk_of() { # vol-… → its device; EC2 gives NVMe disks the id, without the hyphen, as serial number
  lsblk -dnpo NAME,SERIAL | awk -v serial="${1/-/}" '$2 == serial { print $1 }'
}

# Mounts a volume and writes it into fstab by the UUID of its file system. A blank one gets XFS; one that holds anything
# else is refused. Adds the label of a new one to NEW.
mount_volume() { # id label mountpoint
  local id="$1" label="$2" point="$3" disk="" kind
  for _ in $(seq "${VOLUME_TRIES:-60}"); do # the attachments come some seconds after the instance
    disk="$(disk_of "$id")"
    [ -n "$disk" ] && break
    sleep "${VOLUME_PAUSE_S:-5}"
  done
  [ -n "$disk" ] || { echo "$id ($label) is not attached; the instance type must be a Nitro one" >&2; return 1; }
  kind="$(lsblk -dnro FSTYPE "$disk")"
  if [ -z "$kind" ]; then
    [ "$(lsblk -nro NAME "$disk" | wc -l)" -eq 1 ] || { echo "$id ($disk) has partitions; not touched" >&2; return 1; }
    mkfs.xfs -q -L "$label" "$disk" # refuses what holds anything that blkid knows
    NEW="${NEW:-} $label"
  elif [ "$kind" != xfs ]; then
    echo "$id ($disk) holds $kind, not XFS; not touched" >&2
    return 1
  fi
  local uuid
  uuid="$(blkid -o value -s UUID "$disk")"
  mkdir -p "$point"
  grep -q "^UUID=$uuid " "${FSTAB:-/etc/fstab}" ||
    echo "UUID=$uuid $point xfs defaults,noatime,nofail,x-systemd.device-timeout=120 0 2" >>"${FSTAB:-/etc/fstab}"
  mountpoint -q "$point" || mount "$point"
}
