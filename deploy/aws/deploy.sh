#!/usr/bin/env bash
# Creates or updates the stack from this machine, with AWS's standard credentials; grows its disk; replaces its instance.
#   deploy/aws/deploy.sh --bucket B --vpc vpc-… --subnet subnet-… --repository https://… --ref TAG [--stack S]
#     [--prefix P] [--contact A] [--region R] [--image ami-…] [-- ParameterKey=Value …]    parameters of stack.yaml
#   deploy/aws/deploy.sh grow GIB [--stack S] [--region R]
#   deploy/aws/deploy.sh replace-instance --repository https://… --ref TAG [--stack S] [--region R] [--image ami-…]
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=deploy/setup.sh
source "$HERE/../setup.sh"
install_python_packages
exec "$VENV/bin/python" "$HERE/deployment.py" "$@"
