"""What the template of one machine promises, read from itself and from AWS's own schemas."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from vlm_assets.settings import Settings
from vlm_assets_tests.deploy.scripts import DEPLOY, properties, resources, script, template

REGION = "eu-central-1"
ALARMS = {name: one["Properties"] for name, one in resources("AWS::CloudWatch::Alarm").items()}
OF_FIRST_BOOT = {"ImageId", "SubnetId", "UserData", "VpcId", "AvailabilityZone"}
"""Parameters that deployment.py gives when it makes the stack, and never again."""


def _named(value: Any) -> Iterator[str]:
    """What a value depends on: names of `Ref`, `GetAtt` and `${…}`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "Ref":
                yield inner
            elif key == "Fn::GetAtt":
                yield inner if isinstance(inner, str) else ".".join(inner)
            elif key == "Fn::Sub":
                yield from re.findall(r"\$\{([^}]+)\}", inner)
            else:
                yield from _named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner)


def _replacing(kind: str) -> set[str]:
    """Properties whose change replaces, or may restart, a resource, by AWS's own schema."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema
    paths = [
        *(schema.get("createOnlyProperties") or []),
        *(schema.get("conditionalCreateOnlyProperties") or []),
    ]
    return {path.split("/")[2] for path in paths}


@pytest.mark.parametrize("name", ["Instance", "DataAttachment", "HomeAttachment"])
def test_what_replaces_a_resource_depends_on_nothing_that_a_rerun_changes(name: str):
    resource = template()["Resources"][name]
    fatal = _replacing(resource["Type"])
    named = {one for key, value in resource["Properties"].items() if key in fatal for one in _named(value)}
    on_purpose = {"InstanceType", "AssignPublicIp"}  # deployment.py refuses it, or asks
    assert named - on_purpose - OF_FIRST_BOOT - set(resources("AWS::EC2::Volume")) <= {
        "Instance",
        "SecurityGroup",
    }
    assert not [one for one in named if "." in one]  # such as the latest version of a launch template


def test_the_image_is_one_by_its_id_and_no_name_that_moves():
    image = template()["Parameters"]["ImageId"]
    assert image["Type"] == "AWS::EC2::Image::Id"
    assert "Default" not in image
    assert re.search(r"-\d{8}$", script("deployment").IMAGE_NAME)
    root = properties("Instance")["BlockDeviceMappings"][0]
    assert root["DeviceName"] == "/dev/sda1"  # of Ubuntu's images; another name would be a second disk


def test_a_machine_has_no_public_address_and_takes_no_connection():
    assert template()["Parameters"]["AssignPublicIp"]["Default"] == "false"
    assert "SecurityGroupIngress" not in properties("SecurityGroup")
    assert properties("Instance")["MetadataOptions"]["HttpTokens"] == "required"


def test_what_holds_data_outlives_stack_and_instance():
    assert properties("Instance")["DisableApiTermination"] is True
    for name in ("DataVolume", "HomeVolume", "Bucket"):
        resource = template()["Resources"][name]
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")
    for name in ("DataVolume", "HomeVolume"):
        assert properties(name)["Encrypted"] is True
    assert set(script("deployment").KEPT) <= set(template()["Resources"])


def test_alarms_can_reach_the_topic():
    """CloudWatch may publish by the topic's policy, and may use the key that the topic is encrypted with."""
    [policy] = resources("AWS::SNS::TopicPolicy").values()
    assert policy["Properties"]["Topics"] == [{"Ref": "Topic"}]
    [statement] = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert statement["Action"] == "sns:Publish"
    assert "aws:SourceAccount" in statement["Condition"]["StringEquals"]
    assert properties("Topic")["KmsMasterKeyId"] == {"Ref": "Key"}  # AWS's own key lets no service in
    allowed = [
        action
        for one in properties("Key")["KeyPolicy"]["Statement"]
        if one["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        for action in one["Action"]
    ]
    assert allowed == ["kms:Decrypt", "kms:GenerateDataKey*"]


def test_every_alarm_tells_the_topic_and_every_figure_has_one():
    assert {name: {"Ref": "Topic"} in one["AlarmActions"] for name, one in ALARMS.items()} == dict.fromkeys(
        ALARMS, True
    )
    own = {
        one["MetricName"]
        for one in ALARMS.values()
        if one["Namespace"] == script("publish_metrics").NAMESPACE
    }
    taken = set(script("publish_metrics").takers(Settings(), Path(), 0.0)) | {"FiguresFailed"}
    assert own == taken


def test_a_figure_that_does_not_come_is_a_fault():
    missing = {name: one["TreatMissingData"] for name, one in ALARMS.items()}
    assert {name for name, way in missing.items() if way != "breaching"} == {
        "SlicesDueAlarm",  # on the first day; FiguresAlarm breaches where it cannot be taken
        "StatusAlarm",  # EC2's own
    }


@pytest.mark.parametrize(
    ("alarm", "wanted"),
    [
        ("DaemonAlarm", {"Statistic": "Minimum", "Threshold": 1, "ComparisonOperator": "LessThanThreshold"}),
        ("NightAlarm", {"Threshold": {"Ref": "NightHours"}, "ComparisonOperator": "GreaterThanThreshold"}),
        (
            "SlicesDueAlarm",
            {"Statistic": "Minimum", "Period": 86400, "EvaluationPeriods": {"Ref": "SlicesDueDays"}},
        ),
        ("DataVolumeAlarm", {"Statistic": "Maximum", "ComparisonOperator": "GreaterThanThreshold"}),
        (
            "FiguresAlarm",
            {"Statistic": "Minimum", "Threshold": 0, "ComparisonOperator": "GreaterThanThreshold"},
        ),
    ],
)
def test_alarms_fire_on_the_fault(alarm: str, wanted: dict[str, Any]):
    assert {key: ALARMS[alarm][key] for key in wanted} == wanted


def test_an_alarm_looks_back_a_week_at_most():
    """CloudWatch refuses more, for periods of an hour and longer."""
    longest = template()["Parameters"]["SlicesDueDays"]["MaxValue"]
    for one in ALARMS.values():
        periods = one["EvaluationPeriods"]
        assert one["Period"] * (longest if isinstance(periods, dict) else periods) <= 7 * 86400


def _statements() -> Iterator[dict[str, Any]]:
    for one in [*resources("AWS::IAM::Role").values(), *resources("AWS::IAM::RolePolicy").values()]:
        for policy in one["Properties"].get("Policies", [one["Properties"]]):
            if "PolicyDocument" in policy:
                yield from policy["PolicyDocument"]["Statement"]


def _actions(statement: dict[str, Any]) -> list[str]:
    found = statement["Action"]
    return [found] if isinstance(found, str) else found


def test_a_role_may_do_nothing_to_everything_but_what_knows_no_resources():
    unbound = [one for one in _statements() if one["Resource"] == "*"]
    free = {action.split(":")[0] for one in unbound if "Condition" not in one for action in _actions(one)}
    assert free == {"ssm", "ssmmessages", "ec2messages"}  # the agent's channels
    [figures] = [one for one in unbound if "Condition" in one]
    assert figures["Action"] == "cloudwatch:PutMetricData"
    assert figures["Condition"] == {
        "StringEquals": {"cloudwatch:namespace": script("publish_metrics").NAMESPACE}
    }
    assert [action for one in _statements() for action in _actions(one) if "*" in action] == []


def test_the_instance_reads_no_parameters_but_its_own():
    """The managed policy of Session Manager would let it read the account's."""
    assert "ManagedPolicyArns" not in properties("Role")
    reading = [one for one in _statements() if any("Parameter" in action for action in _actions(one))]
    assert [one["Resource"]["Fn::Sub"].split("AccountId}:")[1] for one in reading] == [
        "parameter/vlm-assets/${AWS::StackName}/*"
    ]


def test_the_platform_is_told_the_topic_and_where_its_volumes_are():
    found = {
        one["Properties"]["Name"]["Fn::Sub"].removeprefix("/vlm-assets/${AWS::StackName}/"): one[
            "Properties"
        ]["Value"]
        for one in resources("AWS::SSM::Parameter").values()
    }
    assert found["env/VLM_NOTIFY_SNS_TOPIC"] == {"Ref": "Topic"}
    assert found["env/VLM_CONTACT"] == {"Ref": "Contact"}
    assert found["volumes/DATA_VOLUME"] == {"Ref": "DataVolume"}
    assert found["volumes/HOME_VOLUME"] == {"Ref": "HomeVolume"}
    settings = {f"VLM_{name.upper()}" for name in Settings.model_fields}
    assert {name[4:] for name in found if name.startswith("env/")} <= settings
    waited = set(template()["Resources"]["Instance"]["DependsOn"])
    assert waited >= {
        name for name, one in resources("AWS::SSM::Parameter").items() if "Condition" not in one
    }


def test_tasks_beyond_one_machine_are_told_the_topic_and_may_publish():
    stack = template("ecs/stack.yaml")
    told = {"Name": "VLM_NOTIFY_SNS_TOPIC", "Value": {"Ref": "NotifyTopicArn"}}
    tasks = [one for one in stack["Resources"].values() if one["Type"] == "AWS::ECS::TaskDefinition"]
    containers = [one for task in tasks for one in task["Properties"]["ContainerDefinitions"]]
    assert [one["Name"] for one in containers if told not in one["Environment"]] == []
    [publish, key] = stack["Resources"]["TellPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (publish["Action"], publish["Resource"]) == ("sns:Publish", {"Ref": "NotifyTopicArn"})
    assert key["Fn::If"][1]["Resource"] == {"Ref": "NotifyKeyArn"}


@pytest.mark.parametrize("stack", ["aws/stack.yaml", "ecs/stack.yaml"])
def test_the_key_of_the_logs_lets_their_group_use_it(stack: str):
    resources = template(stack)["Resources"]
    logs = resources["Logs"]["Properties"]
    policy = resources["Key"]["Properties"]["KeyPolicy"]["Statement"]
    [may] = [one["Condition"]["ArnEquals"] for one in policy if one["Sid"] == "Logs"]
    assert logs["KmsKeyId"] == {"Fn::GetAtt": "Key.Arn"}
    [group] = may.values()
    assert group["Fn::Sub"].split(":log-group:")[1] == logs["LogGroupName"]["Fn::Sub"]


def test_logs_are_kept_for_a_time_and_may_be_written():
    logs = properties("Logs")
    assert logs["RetentionInDays"] > 0
    assert logs["KmsKeyId"] == {"Fn::GetAtt": "Key.Arn"}
    writing = [one for one in _statements() if "logs:PutLogEvents" in _actions(one)]
    name = logs["LogGroupName"]["Fn::Sub"]
    assert [one["Resource"]["Fn::Sub"].split(":log-group:")[1] for one in writing] == [f"{name}:*"]


@pytest.fixture(scope="module")
def checkov(tmp_path_factory) -> str:
    """The program, in an environment of its own: it pins a hundred packages."""
    place = tmp_path_factory.mktemp("checkov")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    install = [str(place / "bin/python"), "-m", "pip", "install", "--quiet", "checkov==3.3.30"]
    subprocess.run(install, check=True)
    return str(place / "bin/checkov")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stack", ["aws/stack.yaml", "ecs/stack.yaml"])
def test_checkov_finds_nothing(checkov: str, tmp_path: Path, stack: str):
    """What is passed over says why in the template."""
    command = [checkov, "--framework", "cloudformation", "--output", "json", "--compact", "--quiet"]
    ran = subprocess.run(
        [*command, "-f", str(DEPLOY / stack)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    told = json.loads(ran.stdout)
    assert told["results"]["failed_checks"] == []
    assert told["summary"]["passed"] >= 30
