"""Creates, updates, grows and refits the stack of one machine: what deploy.sh runs.

What only a new instance may change (image, user data, subnet) is given when the stack is made and never again, so
that running the same command twice changes nothing. An update is looked at before it is made: one that would replace
the instance or a volume is refused, and CloudFormation itself is told to refuse it by the stack's policy.
"""

import argparse
import base64
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
IMAGE_OWNER = "099720109477"  # Canonical
IMAGE_NAME = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260904"
"""One image by its serial, with the SSM agent in it. Another one: --image, or a new name here for new stacks."""

KEPT = ("Instance", "DataVolume", "HomeVolume", "DataAttachment", "HomeAttachment", "Bucket")
"""Resources that no update may replace or remove."""

_FIXED = {
    "vpc": "VpcId",
    "subnet": "SubnetId",
    "bucket": "BucketName",
    "prefix": "RemotePrefix",
    "image": "ImageId",
}
_GROWN = "DataVolumeGiB"


class DeploymentError(Exception):
    """Why nothing was changed, or what did not come about, with the way on."""


@dataclass(frozen=True, slots=True)
class Aws:
    """Clients of one region, and how long to wait between two looks."""

    client: Callable[[str], Any]
    pause_s: float = 10.0
    tries: int = 180
    tell: Callable[[str], object] = field(default=lambda words: sys.stdout.write(f"{words}\n"))

    def until(self, words: str, done: Callable[[], Any]) -> Any:
        """What `done` gives as soon as it is true.

        Raises:
            DeploymentError: it never was.
        """
        for _ in range(self.tries):
            found = done()
            if found:
                return found
            time.sleep(self.pause_s)
        raise DeploymentError(
            f"{words}: not after {self.tries * self.pause_s:.0f} s; look at it in the console"
        )


def policy() -> str:
    """The stack's policy: everything may be updated, but what is kept not replaced or removed."""
    kept = [f"LogicalResourceId/{name}" for name in KEPT]
    allow = {"Effect": "Allow", "Principal": "*", "Action": "Update:*", "Resource": "*"}
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["Update:Replace", "Update:Delete"],
        "Resource": kept,
    }
    return json.dumps({"Statement": [allow, deny]})


def user_data(stack: str, region: str, repository: str, ref: str) -> str:
    """cloud-init.yaml with its four words, in base64.

    Raises:
        DeploymentError: a word that is no name of its kind.
    """
    text = (HERE / "cloud-init.yaml").read_text("utf-8")
    words = {"STACK": stack, "REGION": region, "REPOSITORY": repository, "REF": ref}
    for name, word in words.items():
        if not re.fullmatch(r"[A-Za-z0-9][^\s\"'\\`$]*", word):
            raise DeploymentError(f"--{name.lower()} {word!r}: no blanks, quotes, backslashes or dollars")
        text = text.replace(f"@{name}@", word)
    return base64.b64encode(text.encode()).decode()


def image_id(aws: Aws, wanted: str | None) -> str:
    """The id of the image: as given, or of the one image that the name above means in this region."""
    if wanted:
        return wanted
    names = [{"Name": "name", "Values": [IMAGE_NAME]}]
    found = aws.client("ec2").describe_images(Owners=[IMAGE_OWNER], Filters=names)["Images"]
    if len(found) != 1:
        raise DeploymentError(
            f"{len(found)} images are called {IMAGE_NAME} in this region; name one by --image"
        )
    return str(found[0]["ImageId"])


def deploy(aws: Aws, given: argparse.Namespace) -> None:
    """Makes the stack, or brings the one that is there to this template and these parameters."""
    stack = find_stack(aws, given.stack)
    if stack is None:
        create(aws, given)
    else:
        update(aws, given, stack)
    _show(aws, given.stack)


def create(aws: Aws, given: argparse.Namespace) -> None:
    """A new stack, protected from being deleted by mistake."""
    missing = [name for name in ("bucket", "vpc", "subnet", "repository", "ref") if not getattr(given, name)]
    if missing:
        raise DeploymentError(
            f"no stack {given.stack} yet; to make it: {', '.join('--' + name for name in missing)}"
        )
    subnets = aws.client("ec2").describe_subnets(SubnetIds=[given.subnet])["Subnets"]
    values = {
        **_parameters(given),
        "VpcId": given.vpc,
        "SubnetId": given.subnet,
        "AvailabilityZone": subnets[0]["AvailabilityZone"],
        "ImageId": image_id(aws, given.image),
        "BucketName": given.bucket,
        "UserData": user_data(given.stack, given.region, given.repository, given.ref),
        **({"RemotePrefix": given.prefix} if given.prefix else {}),
    }
    aws.client("cloudformation").create_stack(
        StackName=given.stack,
        TemplateBody=_template(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=_pairs(values),
        StackPolicyBody=policy(),
        EnableTerminationProtection=True,
    )
    _settled(aws, given.stack)


def update(aws: Aws, given: argparse.Namespace, stack: dict[str, Any]) -> None:
    """This template and these parameters, everything else as it was; nothing of what is kept is touched."""
    present = {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", [])}
    for name, key in _FIXED.items():
        wanted = getattr(given, name)
        if wanted and key in present and wanted != present[key]:
            way = "replace-instance" if name == "image" else "a stack of another name"
            raise DeploymentError(f"--{name} {wanted}: this stack has {present[key]}; for another: {way}")
    values = _parameters(given)
    if _GROWN in values and values[_GROWN] != present.get(_GROWN):
        raise DeploymentError(
            f"{_GROWN} is {present.get(_GROWN)}; to change it: deploy.sh grow {values[_GROWN]}"
        )
    if given.repository or given.ref:
        aws.tell(
            "--repository and --ref are of first boot; another version: deploy/aws/upgrade.sh on the instance"
        )
    aws.client("cloudformation").set_stack_policy(StackName=given.stack, StackPolicyBody=policy())
    _change(aws, given.stack, present, values, may_restart=given.may_restart, template=_template())


def grow(aws: Aws, given: argparse.Namespace) -> None:
    """A larger data volume, and the file system on it; nothing is stopped, no other parameter changes."""
    stack = _the_stack(aws, given.stack)
    present = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    outputs = _outputs(stack)
    size = _size(aws, outputs["DataVolumeId"])
    if given.gib <= max(size, int(present[_GROWN])):
        raise DeploymentError(
            f"the data volume has {size} GiB, the stack says {present[_GROWN]}: volumes only grow"
        )
    _change(aws, given.stack, present, {_GROWN: str(given.gib)})
    aws.until("the volume has its new size", lambda: _size(aws, outputs["DataVolumeId"]) >= given.gib)
    aws.until("the volume can be used", lambda: not _modifying(aws, outputs["DataVolumeId"]))
    aws.tell(_on_instance(aws, outputs["InstanceId"], ["xfs_growfs /data", "df -h /data"]))


def replace_instance(aws: Aws, given: argparse.Namespace) -> None:
    """A new instance with this image and version on the old volumes.

    In steps, after each of which it can be run again: the old one is stopped, so that its volumes are unmounted; it
    goes with its attachments; then the new one comes. The volumes and the bucket are never part of it.
    """
    stack = _the_stack(aws, given.stack)
    if not (given.repository and given.ref):
        raise DeploymentError("--repository and --ref: what the new instance installs")
    image = image_id(aws, given.image)
    present = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    instance = _outputs(stack).get("InstanceId")
    if instance:
        ec2 = aws.client("ec2")
        aws.tell(f"stopping {instance}")
        ec2.stop_instances(InstanceIds=[instance])
        aws.until(f"{instance} is stopped", lambda: _state(ec2, instance) == "stopped")
        ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
        _refit(aws, given.stack, present, {"InstanceWanted": "false"})
    fresh = user_data(given.stack, given.region, given.repository, given.ref)
    _refit(aws, given.stack, present, {"InstanceWanted": "true", "ImageId": image, "UserData": fresh})
    _show(aws, given.stack)


def surprises(changes: Sequence[dict[str, Any]], *, may_restart: bool) -> list[str]:
    """What a change set would do to what is kept, in words; nothing where it is harmless."""
    found = []
    for change in (one["ResourceChange"] for one in changes):
        name, replaced = change["LogicalResourceId"], change.get("Replacement", "False")
        because = sorted({one["Target"].get("Name", "?") for one in change.get("Details", [])} - {"?"})
        why = f" ({', '.join(because)})" if because else ""
        if name not in KEPT:
            continue
        if change["Action"] == "Remove" or replaced == "True":
            found.append(f"{name} would be replaced or removed{why}")
        elif replaced == "Conditional" and name == "Instance" and not may_restart:
            found.append(f"{name} would be stopped and started{why}; between runs: --may-restart")
        elif replaced == "Conditional" and name != "Instance" and "InstanceId" not in because:
            found.append(f"{name} might be replaced{why}")
    return found


def find_stack(aws: Aws, name: str) -> dict[str, Any] | None:
    """The stack as CloudFormation describes it; None where there is none."""
    client = aws.client("cloudformation")
    try:
        found: dict[str, Any] = client.describe_stacks(StackName=name)["Stacks"][0]
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    return None if found["StackStatus"] == "DELETE_COMPLETE" else found


def _the_stack(aws: Aws, name: str) -> dict[str, Any]:
    stack = find_stack(aws, name)
    if stack is None:
        raise DeploymentError(f"no stack {name} in this region; --stack and --region say which")
    return stack


def _change(
    aws: Aws, name: str, present: dict[str, str], values: dict[str, str], *,
    may_restart: bool = False, template: str | None = None,
) -> None:  # fmt: skip
    """Makes a change set, looks at it, and makes the change where it surprises nobody."""
    client = aws.client("cloudformation")
    change = f"deploy-{int(time.time() * 1000)}"
    client.create_change_set(
        StackName=name, ChangeSetName=change, ChangeSetType="UPDATE", Capabilities=["CAPABILITY_IAM"],
        Parameters=_kept(present, values, template), **_body(template),
    )  # fmt: skip
    made = aws.until("the change set is made", lambda: _made(client, name, change))
    if made["Status"] == "FAILED":
        client.delete_change_set(StackName=name, ChangeSetName=change)
        if re.search(r"didn't contain changes|No updates", made.get("StatusReason", "")):
            aws.tell("nothing to change")
            return
        raise DeploymentError(f"CloudFormation refuses: {made.get('StatusReason')}")
    found = surprises(made["Changes"], may_restart=may_restart)
    if found:
        client.delete_change_set(StackName=name, ChangeSetName=change)
        raise DeploymentError("nothing was changed: " + "; ".join(found))
    client.execute_change_set(StackName=name, ChangeSetName=change)
    _settled(aws, name)


def _refit(aws: Aws, name: str, present: dict[str, str], values: dict[str, str]) -> None:
    """An update that may remove the instance and its attachments, under a policy for it alone."""
    names = [
        f"LogicalResourceId/{one}"
        for one in KEPT
        if one not in ("Instance", "DataAttachment", "HomeAttachment")
    ]
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["Update:Replace", "Update:Delete"],
        "Resource": names,
    }
    allow = {"Effect": "Allow", "Principal": "*", "Action": "Update:*", "Resource": "*"}
    template = _template()
    aws.client("cloudformation").update_stack(
        StackName=name, TemplateBody=template, Capabilities=["CAPABILITY_IAM"],
        Parameters=_kept(present, values, template),
        StackPolicyDuringUpdateBody=json.dumps({"Statement": [allow, deny]}),
    )  # fmt: skip
    _settled(aws, name)


def _kept(present: dict[str, str], values: dict[str, str], template: str | None) -> list[dict[str, Any]]:
    """Every parameter that the stack has and the template still knows: as given, or as it was."""
    known = {key for key in present if template is None or re.search(rf"^  {key}:", template, re.MULTILINE)}
    as_was = [{"ParameterKey": key, "UsePreviousValue": True} for key in sorted(known - set(values))]
    return [*as_was, *_pairs(values)]


def _made(client: Any, name: str, change: str) -> dict[str, Any] | None:
    """The change set with all its changes, once it is made or refused."""
    found: dict[str, Any] = client.describe_change_set(StackName=name, ChangeSetName=change)
    page = found
    while page.get("NextToken"):
        page = client.describe_change_set(StackName=name, ChangeSetName=change, NextToken=page["NextToken"])
        found["Changes"] += page["Changes"]
    return found if found["Status"] in ("CREATE_COMPLETE", "FAILED") else None


def _settled(aws: Aws, name: str) -> None:
    """Waits until CloudFormation has done what it was told.

    Raises:
        DeploymentError: it was undone.
    """
    stack = aws.until(f"stack {name} settles", lambda: _unless_moving(aws, name))
    if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        events = aws.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
        why = [
            one.get("ResourceStatusReason", "") for one in events if one["ResourceStatus"].endswith("_FAILED")
        ]
        raise DeploymentError(f"stack {name} is {stack['StackStatus']}: {'; '.join(why[::-1][:3])}")


def _unless_moving(aws: Aws, name: str) -> dict[str, Any] | None:
    stack = _the_stack(aws, name)
    return None if stack["StackStatus"].endswith("_IN_PROGRESS") else stack


def _on_instance(aws: Aws, instance: str, commands: list[str]) -> str:
    """Runs commands as root through Session Manager; what they printed."""
    ssm = aws.client("ssm")
    sent = ssm.send_command(
        InstanceIds=[instance],
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": ["set -e", *commands]},
    )["Command"]["CommandId"]

    def ended() -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = ssm.get_command_invocation(CommandId=sent, InstanceId=instance)
        except ssm.exceptions.InvocationDoesNotExist:
            return None
        return None if found["Status"] in ("Pending", "InProgress", "Delayed") else found

    found = aws.until(f"{instance} runs {commands[0]}", ended)
    if found["Status"] != "Success":
        raise DeploymentError(
            f"{instance}: {commands[0]}: {found['Status']}: {found.get('StandardErrorContent')}"
        )
    return str(found.get("StandardOutputContent", ""))


def _size(aws: Aws, volume: str) -> int:
    return int(aws.client("ec2").describe_volumes(VolumeIds=[volume])["Volumes"][0]["Size"])


def _modifying(aws: Aws, volume: str) -> bool:
    wanted = [{"Name": "volume-id", "Values": [volume]}]
    found = aws.client("ec2").describe_volumes_modifications(Filters=wanted)["VolumesModifications"]
    return any(one["ModificationState"] == "modifying" for one in found)


def _state(ec2: Any, instance: str) -> str:
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return str(found["State"]["Name"])


def _outputs(stack: dict[str, Any]) -> dict[str, str]:
    return {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}


def _show(aws: Aws, name: str) -> None:
    for key, value in _outputs(_the_stack(aws, name)).items():
        aws.tell(f"{key:14} {value}")


def _template() -> str:
    return (HERE / "stack.yaml").read_text("utf-8")


def _body(template: str | None) -> dict[str, Any]:
    return {"TemplateBody": template} if template else {"UsePreviousTemplate": True}


def _pairs(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in sorted(values.items())]


def _parameters(given: argparse.Namespace) -> dict[str, str]:
    """The contact and Key=Value …; what has an option of its own or is never given by hand is refused."""
    values = {} if given.contact is None else {"Contact": given.contact}
    for word in given.parameters:
        key, sign, value = word.partition("=")
        if not sign or key in (*_FIXED.values(), "UserData", "InstanceWanted", "AvailabilityZone"):
            raise DeploymentError(f"{word}: Key=Value of stack.yaml, of which deploy.sh gives some itself")
        values[key] = value
    return values


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """What was asked for; deploying is what it does when no other command is named."""
    words = list(words)
    if not words or words[0] not in ("deploy", "grow", "replace-instance", "-h", "--help"):
        words = ["deploy", *words]
    parser = argparse.ArgumentParser(prog="deploy.sh", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("deploy", "grow", "replace-instance"):
        one = commands.add_parser(name, allow_abbrev=False)
        one.add_argument("--stack", default="vlm-assets")
        one.add_argument("--region", default=None)
        if name == "grow":
            one.add_argument("gib", type=int)
            continue
        for option in ("--repository", "--ref", "--image"):
            one.add_argument(option)
        if name == "deploy":
            for option in ("--bucket", "--vpc", "--subnet", "--prefix", "--contact"):
                one.add_argument(option)
            one.add_argument("--may-restart", action="store_true")
            one.add_argument("parameters", nargs="*", metavar="Key=Value")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """0: done. 1: refused or not come about, with the reason."""
    import boto3  # noqa: PLC0415 - help and faults of the command line need no AWS

    given = arguments(words)
    session = boto3.Session(region_name=given.region)
    given.region = session.region_name
    if given.region is None:
        sys.stderr.write("no region: --region, or AWS_DEFAULT_REGION\n")
        return 1
    doing = {"deploy": deploy, "grow": grow, "replace-instance": replace_instance}[given.command]
    try:
        doing(Aws(session.client), given)
    except DeploymentError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
