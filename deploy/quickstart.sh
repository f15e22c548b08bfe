#!/usr/bin/env bash
# Sets everything up on a fresh Debian or Ubuntu machine, runs the offline demo end to end, and says where things are.
# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$ROOT"
install_system_packages pdftoppm:poppler-utils
install_python_packages
say "Demo"
"$VENV/bin/vlm-assets" demo "$@"
