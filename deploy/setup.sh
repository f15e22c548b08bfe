# Sourced by the other scripts: system packages when missing, a virtual environment, the locked packages.
# Sets ROOT (the checkout) and VENV. DEPLOY_VENV names another place for the environment.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${DEPLOY_VENV:-$ROOT/.venv}"

say() { printf '\n== %s\n' "$*"; }

install_system_packages() { # command-or-file:package …
  local missing=() pair
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing+=("${pair#*:}")
  done
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  [ "${#missing[@]}" -eq 0 ] && return
  say "System packages: ${missing[*]}"
  local run=()
  [ "$(id -u)" -eq 0 ] || run=(sudo)
  command -v apt-get >/dev/null || {
    echo "Install these by hand (no apt-get here): ${missing[*]}" >&2
    exit 2
  }
  "${run[@]}" apt-get update -q || true
  "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

install_python_packages() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; python3 is $(python3 --version)" >&2
    exit 2
  }
  local stamp wanted
  stamp="$VENV/.locked"
  wanted="$(cat "$ROOT/requirements.lock" "$ROOT/pyproject.toml" | sha256sum | cut -d' ' -f1) $ROOT"
  if [ -x "$VENV/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
  say "Python packages into $VENV"
  [ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
  # Compiled once here: a service's account may not write beside the code, and every process would compile it again.
  # uv checks the same hashes in a tenth of the time; pip does where uv cannot be had.
  if "$VENV/bin/python" -m pip install -q "uv>=0.9" &&
    "$VENV/bin/uv" pip install -q --compile-bytecode --python "$VENV/bin/python" --require-hashes -r "$ROOT/requirements.lock"; then
    "$VENV/bin/uv" pip install -q --python "$VENV/bin/python" --no-deps -e "$ROOT"
  else
    "$VENV/bin/python" -m pip install -q --require-hashes -r "$ROOT/requirements.lock"
    "$VENV/bin/python" -m pip install -q --no-deps -e "$ROOT"
  fi
  "$VENV/bin/python" -m compileall -q "$ROOT/vlm_assets"
  echo "$wanted" >"$stamp"
}
