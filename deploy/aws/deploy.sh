#!/usr/bin/env bash
# Creates or updates the stack from this machine, with the AWS CLI's own credentials. Asks for nothing it is not given.
#   deploy/aws/deploy.sh --bucket B --vpc vpc-… --subnet subnet-… --repository https://… [--stack S] [--prefix P]
#     [--ref TAG] [--contact A] [--region R] [-- ParameterKey=Value …]      further parameters of stack.yaml
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
STACK=vlm-assets PREFIX=vlm REF=main CONTACT="" REGION="${AWS_DEFAULT_REGION:-}"
BUCKET="" VPC="" SUBNET="" REPOSITORY="" RENDER_ONLY=""
usage() { sed -n '2,4p' "${BASH_SOURCE[0]}" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case "$1" in
    --bucket) BUCKET="$2"; shift 2 ;;
    --vpc) VPC="$2"; shift 2 ;;
    --subnet) SUBNET="$2"; shift 2 ;;
    --repository) REPOSITORY="$2"; shift 2 ;;
    --stack) STACK="$2"; shift 2 ;;
    --prefix) PREFIX="$2"; shift 2 ;;
    --ref) REF="$2"; shift 2 ;;
    --contact) CONTACT="$2"; shift 2 ;;
    --region) REGION="$2"; shift 2 ;;
    --render) RENDER_ONLY=yes; shift ;; # print the user data and stop
    --) shift; break ;;
    *) usage ;;
  esac
done
if [ -z "$BUCKET" ] || [ -z "$REPOSITORY" ]; then usage; fi

render() {
  sed -e "s|@BUCKET@|$BUCKET|; s|@PREFIX@|$PREFIX|; s|@CONTACT@|$CONTACT|; s|@STACK@|$STACK|; s|@REGION@|$REGION|" \
    -e "s|@REF@|$REF|; s|@REPOSITORY@|$REPOSITORY|" "$HERE/cloud-init.yaml"
}
if [ -n "$RENDER_ONLY" ]; then render; exit; fi
if [ -z "$VPC" ] || [ -z "$SUBNET" ] || [ -z "$REGION" ]; then usage; fi
ZONE="$(aws ec2 describe-subnets --region "$REGION" --subnet-ids "$SUBNET" --query 'Subnets[0].AvailabilityZone' --output text)"
aws cloudformation deploy --region "$REGION" --stack-name "$STACK" --template-file "$HERE/stack.yaml" \
  --capabilities CAPABILITY_IAM --parameter-overrides "VpcId=$VPC" "SubnetId=$SUBNET" "AvailabilityZone=$ZONE" \
  "BucketName=$BUCKET" "RemotePrefix=$PREFIX" "UserData=$(render | base64 -w0)" "$@"
aws cloudformation describe-stacks --region "$REGION" --stack-name "$STACK" --query 'Stacks[0].Outputs' --output table
