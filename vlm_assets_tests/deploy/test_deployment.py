"""deploy.sh against moto's CloudFormation, EC2, SSM and SNS: made, run again, grown, refitted."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from vlm_assets_tests.deploy.scripts import script
from vlm_assets_tests.remote.s3 import CREDENTIALS

deployment = script("deployment")
CONTACT = "Data Team, Room 4 <data@example.org>"


@dataclass
class Place:
    """One region with a network and an image, and what deploy.sh said."""

    subnet: dict[str, Any]
    image: str
    other_image: str
    said: list[str] = field(default_factory=list)

    @property
    def aws(self) -> Any:
        return deployment.Aws(boto3.client, pause_s=0, tries=3, tell=self.said.append)

    def run(self, *words: str) -> None:
        given = deployment.arguments([*words, "--region", "us-east-1"])
        if "--" in words:
            given = deployment.arguments(
                [*words[: words.index("--")], "--region", "us-east-1", *words[words.index("--") :]]
            )
        doing = {
            "deploy": deployment.deploy,
            "grow": deployment.grow,
            "replace-instance": deployment.replace_instance,
        }
        doing[given.command](self.aws, given)

    def make(self, *further: str) -> None:
        self.run(
            "--bucket", "some-bucket", "--vpc", self.subnet["VpcId"], "--subnet", self.subnet["SubnetId"],
            "--repository", "https://git.example/vlm.git", "--ref", "v0.1.0", "--image", self.image,
            "--contact", CONTACT, *further,
        )  # fmt: skip

    @property
    def stack(self) -> dict[str, Any]:
        found: dict[str, Any] = deployment.find_stack(self.aws, "vlm-assets")
        return found

    @property
    def outputs(self) -> dict[str, str]:
        return {one["OutputKey"]: one["OutputValue"] for one in self.stack["Outputs"]}

    @property
    def given(self) -> dict[str, str]:
        return {one["ParameterKey"]: one["ParameterValue"] for one in self.stack["Parameters"]}


@pytest.fixture(scope="module")
def network() -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with mock_aws():
            ec2 = boto3.client("ec2")
            vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
            subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]
            images = [one["ImageId"] for one in ec2.describe_images()["Images"][:2]]
            yield Place(subnet, *images)


@pytest.fixture(scope="module")
def made(network: Place) -> Place:
    """A stack for the tests that change nothing of it."""
    network.make()
    return network


pytestmark = pytest.mark.filterwarnings(
    "ignore:Tried to parse"
)  # what moto does not make: alarms, policies, snapshots


def test_the_stack_is_made_with_what_the_instance_needs(made: Place):
    assert made.stack["StackStatus"] == "CREATE_COMPLETE"
    ssm = boto3.client("ssm")
    found = {
        one["Name"].removeprefix("/vlm-assets/vlm-assets/"): one["Value"]
        for one in ssm.get_parameters_by_path(Path="/vlm-assets/vlm-assets", Recursive=True)["Parameters"]
    }
    assert found == {
        "env/VLM_CONTACT": CONTACT,
        "env/VLM_REMOTE": "s3://some-bucket/vlm",
        "env/VLM_NOTIFY_SNS_TOPIC": made.outputs["TopicArn"],
        "volumes/DATA_VOLUME": made.outputs["DataVolumeId"],
        "volumes/HOME_VOLUME": made.outputs["HomeVolumeId"],
    }
    attached = boto3.client("ec2").describe_volumes(VolumeIds=[made.outputs["DataVolumeId"]])["Volumes"][0]
    assert attached["Attachments"][0]["InstanceId"] == made.outputs["InstanceId"]
    assert attached["Size"] == 3000
    topic = boto3.client("sns").get_topic_attributes(TopicArn=made.outputs["TopicArn"])["Attributes"]
    keys = [one["KeyId"] for one in boto3.client("kms").list_keys()["Keys"]]
    assert topic["KmsMasterKeyId"] in keys
    groups = boto3.client("logs").describe_log_groups(logGroupNamePrefix=made.outputs["LogGroup"])[
        "logGroups"
    ]
    assert [one["logGroupName"] for one in groups] == ["/vlm-assets/vlm-assets"]
    policy = json.loads(
        boto3.client("cloudformation").get_stack_policy(StackName="vlm-assets")["StackPolicyBody"]
    )
    assert policy == json.loads(deployment.policy())


def test_nothing_comes_in_from_outside(made: Place):
    wanted = [{"Name": "vpc-id", "Values": [made.subnet["VpcId"]]}]
    groups = boto3.client("ec2").describe_security_groups(Filters=wanted)["SecurityGroups"]
    [group] = [one for one in groups if one["Description"].startswith("vlm_assets")]
    assert group["IpPermissions"] == []


def test_first_boot_is_told_the_version_and_no_setting(made: Place):
    text = base64.b64decode(made.given["UserData"]).decode()
    told = yaml.safe_load(text)
    assert told["runcmd"][0] == ["git", "clone", "https://git.example/vlm.git", "/opt/vlm-assets"]
    assert told["runcmd"][1][-1] == "v0.1.0"
    assert told["write_files"][0]["content"] == "VLM_STACK=vlm-assets\nAWS_DEFAULT_REGION=us-east-1\n"
    assert len(made.given["UserData"]) < 4096  # of a parameter
    assert "amazon-ssm-agent" in text


def test_the_same_command_again_touches_neither_instance_nor_volume(
    made: Place, monkeypatch: pytest.MonkeyPatch
):
    before = (made.outputs, made.given)
    # A later version of this project has another first boot and another image for new stacks.
    monkeypatch.setattr(deployment, "user_data", lambda *_: "b3RoZXI=")
    monkeypatch.setattr(deployment, "IMAGE_NAME", "another")
    made.make("--", "NightHours=40")
    assert made.outputs == before[0]
    assert made.given == {**before[1], "NightHours": "40"}
    assert any("upgrade.sh" in words for words in made.said)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--subnet", "subnet-1"], "this stack has subnet-.*a stack of another name"),
        (["--image", "ami-1"], "replace-instance"),
        (["--", "DataVolumeGiB=4000"], "grow 4000"),
        (["--", "ImageId=ami-1"], "deploy.sh gives some itself"),
        (["--", "UserData"], "Key=Value"),
        (["grow", "3000"], "only grow"),
        (["grow", "2000"], "the data volume has 3000 GiB"),
        (["grow", "4000", "--stack", "other"], "no stack other"),
        (["replace-instance"], "--repository and --ref"),
        (["--stack", "new"], "no stack new yet.*--bucket, --vpc"),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, list) else "",
)
def test_what_would_surprise_is_refused_before_anything_is_asked_for(
    made: Place, words: list[str], told: str
):
    before = made.stack
    with pytest.raises(deployment.DeploymentError, match=told):
        made.run(*words)
    assert made.stack == before


def _changed(name: str, replaced: str, *because: str, action: str = "Modify") -> dict[str, Any]:
    details = [{"Target": {"Attribute": "Properties", "Name": one}} for one in because]
    change = {"LogicalResourceId": name, "Action": action, "Replacement": replaced, "Details": details}
    return {"ResourceChange": change}


@pytest.mark.parametrize(
    ("changes", "refused", "refused_with_restart"),
    [
        ([_changed("NightAlarm", "False", "Threshold")], 0, 0),
        ([_changed("ContactSetting", "True", "Name")], 0, 0),
        ([_changed("DataVolume", "False", "Size")], 0, 0),
        ([_changed("Instance", "True", "ImageId"), _changed("DataAttachment", "True", "InstanceId")], 2, 2),
        ([_changed("Instance", "Conditional", "UserData")], 1, 0),
        ([_changed("Instance", "Conditional", "InstanceType"),
          _changed("DataAttachment", "Conditional", "InstanceId")], 1, 0),
        ([_changed("DataVolume", "Conditional", "AvailabilityZone")], 1, 1),
        ([{"ResourceChange": {"LogicalResourceId": "HomeVolume", "Action": "Remove"}}], 1, 1),
        ([{"ResourceChange": {"LogicalResourceId": "NightAlarm", "Action": "Add"}}], 0, 0),
    ],
    ids=["alarm", "setting", "size", "image", "user-data", "type", "zone", "removed", "added"],
)  # fmt: skip
def test_a_change_that_replaces_what_is_kept_is_seen(
    changes: list[dict[str, Any]], refused: int, refused_with_restart: int
):
    assert len(deployment.surprises(changes, may_restart=False)) == refused
    assert len(deployment.surprises(changes, may_restart=True)) == refused_with_restart


def test_an_update_with_a_surprise_is_not_made(made: Place, monkeypatch: pytest.MonkeyPatch):
    real = deployment._made

    def with_a_new_instance(*words: Any) -> dict[str, Any]:
        return {**real(*words), "Changes": [_changed("Instance", "True", "ImageId")]}

    monkeypatch.setattr(deployment, "_made", with_a_new_instance)
    client = boto3.client("cloudformation")
    before = (made.given, client.list_change_sets(StackName="vlm-assets")["Summaries"])
    with pytest.raises(
        deployment.DeploymentError, match=r"nothing was changed: Instance would be replaced.*ImageId"
    ):
        made.make("--", "StaleHours=99")
    assert (made.given, client.list_change_sets(StackName="vlm-assets")["Summaries"]) == before


def test_the_disk_is_grown_and_its_file_system_with_it(made: Place, monkeypatch: pytest.MonkeyPatch):
    ec2, real = boto3.client("ec2"), deployment._settled
    volume = made.outputs["DataVolumeId"]

    def as_cloudformation_does(aws: Any, name: str) -> None:  # moto's makes no change of a volume
        real(aws, name)
        ec2.modify_volume(VolumeId=volume, Size=int(made.given["DataVolumeGiB"]))

    monkeypatch.setattr(deployment, "_settled", as_cloudformation_does)
    before = made.given
    made.run("grow", "4000")
    assert made.given == {**before, "DataVolumeGiB": "4000"}
    assert ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Size"] == 4000
    [command] = boto3.client("ssm").list_commands()["Commands"]
    assert command["InstanceIds"] == [made.outputs["InstanceId"]]
    assert command["Parameters"]["commands"] == ["set -e", "xfs_growfs /data", "df -h /data"]


def test_an_image_is_looked_up_by_its_whole_name(network: Place):
    with pytest.raises(deployment.DeploymentError, match=r"0 images are called.*--image"):
        deployment.image_id(network.aws, None)
    assert deployment.image_id(network.aws, "ami-1") == "ami-1"


@pytest.mark.parametrize("word", ["v1 0", "", "-x", 'a"b', "$(x)"])
def test_first_boot_takes_no_word_that_yaml_or_git_would_read_otherwise(word: str):
    with pytest.raises(deployment.DeploymentError, match="--ref"):
        deployment.user_data("vlm", "eu-central-1", "https://git.example/vlm.git", word)


def test_a_new_instance_takes_the_place_of_the_old_on_the_same_volumes(monkeypatch: pytest.MonkeyPatch):
    """The order that real attachments need: stopped, unprotected, gone, then the new one."""
    done: list[str] = []
    stack = {"Parameters": [{"ParameterKey": "ImageId", "ParameterValue": "ami-old"},
                            {"ParameterKey": "Contact", "ParameterValue": CONTACT}],
             "Outputs": [{"OutputKey": "InstanceId", "OutputValue": "i-1"}],
             "StackStatus": "UPDATE_COMPLETE"}  # fmt: skip

    class Cloud:
        def stop_instances(self, **_: Any) -> None:
            done.append("stop")

        def describe_instances(self, **_: Any) -> dict[str, Any]:
            return {"Reservations": [{"Instances": [{"State": {"Name": "stopped"}}]}]}

        def modify_instance_attribute(self, **given: Any) -> None:
            done.append(f"protected {given['DisableApiTermination']['Value']}")

        def update_stack(self, **given: Any) -> None:
            values = {
                one["ParameterKey"]: one.get("ParameterValue", "as it was") for one in given["Parameters"]
            }
            done.append(
                f"wanted {values['InstanceWanted']}, image {values['ImageId']}, contact {values['Contact']}"
            )
            [_, deny] = json.loads(given["StackPolicyDuringUpdateBody"])["Statement"]
            assert deny["Resource"] == [
                f"LogicalResourceId/{one}" for one in ("DataVolume", "HomeVolume", "Bucket")
            ]

    monkeypatch.setattr(deployment, "find_stack", lambda *_: stack)
    given = deployment.arguments(
        [
            "replace-instance",
            "--repository",
            "https://x",
            "--ref",
            "v2",
            "--image",
            "ami-new",
            "--region",
            "x-1",
        ]
    )
    aws = deployment.Aws(lambda _: Cloud(), pause_s=0, tries=2, tell=done.append)
    deployment.replace_instance(aws, given)
    assert done[1:5] == [
        "stop",
        "protected False",
        "wanted false, image as it was, contact as it was",
        "wanted true, image ami-new, contact as it was",
    ]
