#!/usr/bin/env bash
# Sets everything up on a bare Debian or Ubuntu machine, then runs lint, types and all tests.
# Arguments go to pytest: deploy/test.sh -m slow
# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$ROOT"
install_system_packages pdftoppm:poppler-utils git:git shellcheck:shellcheck
install_python_packages

say "Lint"
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .
"$VENV/bin/lint-imports" --no-cache
say "Types"
"$VENV/bin/mypy"
say "Tests"
# Two more than there are CPUs: many tests wait for servers and clocks. In the order of conftest.py, the long files first.
"$VENV/bin/python" -m pytest -q -n "$(($(nproc) + 2))" --dist loadfile --no-loadscope-reorder "$@"
