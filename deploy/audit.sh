#!/usr/bin/env bash
# Looks every locked package up in the OSV database of known vulnerabilities, and writes the bill of materials.
# Needs the network (osv.dev, a package index); a step of its own, apart from test.sh: advisories change, the code does not.
# Exit 1: there are some. Arguments go to pip-audit: deploy/audit.sh --ignore-vuln ID
# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
install_python_packages
"$VENV/bin/python" "$ROOT/deploy/sbom.py" >"${SBOM:-$ROOT/sbom.json}"
say "Bill of materials: ${SBOM:-$ROOT/sbom.json}"
"$VENV/bin/uv" tool run pip-audit --requirement "$ROOT/requirements.lock" --require-hashes --disable-pip \
  --vulnerability-service osv --progress-spinner off "$@"
