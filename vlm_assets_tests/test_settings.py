import os
from pathlib import Path

import pytest

from vlm_assets.settings import load_settings
from vlm_assets.words.errors import ConfigError


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "here.yaml"
    path.write_text("contact: profile\nworkers: 1\nlog_level: DEBUG\nhttp_attempts: 9\n")
    return path


def test_environment_beats_env_file_beats_profile_beats_default(tmp_path, profile, monkeypatch):
    (tmp_path / ".env").write_text(
        f"VLM_PROFILE={profile}\nVLM_CONTACT=file\nVLM_WORKERS=2\nDAGSTER_HOME=/x\n"
    )
    monkeypatch.setenv("VLM_CONTACT", "environment")
    settings = load_settings(tmp_path / ".env")
    assert (settings.contact, settings.workers, settings.log_level) == ("environment", 2, "DEBUG")
    assert (settings.http_attempts, settings.http_per_host) == (9, 8)


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("environment", "environment: VLM_CONTCAT: no such setting; did you mean VLM_CONTACT?"),
        ("file", ".env:1: VLM_CONTCAT: no such setting; did you mean VLM_CONTACT?"),
        ("profile", "here.yaml:1: VLM_CONTCAT: no such setting; did you mean VLM_CONTACT?"),
    ],
)
def test_a_misspelt_setting_is_told(tmp_path, profile, monkeypatch, where, told):
    (tmp_path / ".env").write_text("VLM_CONTCAT=x\n" if where == "file" else "")
    if where == "environment":
        monkeypatch.setenv("VLM_CONTCAT", "x")
    if where == "profile":
        profile.write_text("contcat: x\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / ".env", profile=str(profile))
    assert told in str(caught.value)


def test_all_malformed_values_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        load_settings(None, http_attempts=0, log_level="LOUD")
    assert {problem.key for problem in caught.value.problems} == {"VLM_HTTP_ATTEMPTS", "VLM_LOG_LEVEL"}


def test_a_malformed_value_is_told_where_it_stands(tmp_path, profile, monkeypatch):
    profile.write_text("workers: many\n")
    (tmp_path / ".env").write_text("# mine\nVLM_LOG_LEVEL=LOUD\n")
    monkeypatch.setenv("VLM_KIND_SLOTS", '{"pdf_folder": "two"}')
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / ".env", profile=str(profile))
    assert sorted(map(str, caught.value.problems)) == [
        f"{tmp_path}/.env:2: VLM_LOG_LEVEL: expected DEBUG, INFO, WARNING or ERROR, got 'LOUD'",
        f"{profile}:1: VLM_WORKERS: expected a whole number, got 'many'",
        "environment: VLM_KIND_SLOTS.pdf_folder: expected a whole number, got 'two'",
    ]
    monkeypatch.setenv("VLM_KIND_SLOTS", "two")
    with pytest.raises(ConfigError, match="environment: VLM_KIND_SLOTS: not JSON"):
        load_settings(None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(
            b"VLM_CONTACT 'a\nVLM_WORKERS=\"3\n", [":1: not of the form", ":2: not of the form"], id="lines"
        ),
        pytest.param("VLM_CONTACT=\u00e7".encode("cp1254"), [": cannot be read: not UTF-8"], id="encoding"),
    ],
)
def test_an_env_file_that_cannot_be_read_names_its_lines_and_no_value(tmp_path, content, told):
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / ".env")
    problems = [str(one) for one in caught.value.problems]
    assert all(one.startswith(f"{tmp_path}/.env{start}") for one, start in zip(problems, told, strict=True))
    assert "VLM_CONTACT" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("nightly_timezone", "Istanbul", "did you mean Asia/Istanbul or Europe/Istanbul"),
        ("nightly_cron", "at noon", "expected five fields"),
    ],
)
def test_when_the_night_begins_is_checked(name, value, told):
    with pytest.raises(ConfigError, match=told) as caught:
        load_settings(None, **{name: value})
    assert [one.key for one in caught.value.problems] == [f"VLM_{name}".upper()]


def test_an_unknown_profile_lists_those_there_are():
    with pytest.raises(ConfigError, match=r"no profile 'mars'.*there are: aws, local"):
        load_settings(None, profile="mars")


def test_hosts_are_comma_separated(monkeypatch):
    monkeypatch.setenv("VLM_ALLOW_PRIVATE_HOSTS", "127.0.0.1, 10.0.0.0/8")
    assert load_settings(None).allow_private_hosts == ("127.0.0.1", "10.0.0.0/8")


def test_a_root_without_its_marker_is_refused(tmp_path):
    settings = load_settings(None, data_root=tmp_path)
    with pytest.raises(ConfigError, match=r"no \.vlm_root marker. Is the volume mounted"):
        _ = settings.root
    (tmp_path / ".vlm_root").touch()
    assert settings.root.path == tmp_path


def test_secrets_are_not_shown(monkeypatch):
    monkeypatch.setenv("VLM_HF_TOKEN", "hf_verysecret")
    assert "verysecret" not in repr(load_settings(None))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("notify_sns_topic", "my-topic", id="no-arn"),
        pytest.param("notify_sns_topic", "arn:aws:sqs:eu-central-1:123456789012:q", id="another-service"),
        pytest.param("notify_webhook", "hooks.example/T0/s3cr3t", id="no-scheme"),
        pytest.param("notify_webhook", "https:///s3cr3t", id="no-host"),
        pytest.param("notify_webhook", "https://u:s3cr3t@hooks.example/x", id="a-user"),
        pytest.param("ui_url", "dagster.example", id="no-url"),
    ],
)
def test_who_is_to_be_told_is_checked_and_no_secret_is_quoted(name, value):
    with pytest.raises(ConfigError) as caught:
        load_settings(None, **{name: value})
    assert [problem.key for problem in caught.value.problems] == [f"VLM_{name.upper()}"]
    assert "s3cr3t" not in str(caught.value)


def test_a_webhook_is_not_printed():
    settings = load_settings(None, notify_webhook="https://hooks.example/s3cr3t")
    assert "s3cr3t" not in repr(settings)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (os.mkfifo, "no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
        (lambda path: path.write_text("a: " + "[" * 50_000), "nested deeper"),
        (lambda path: path.write_text("- " * 5_000), "nested deeper"),
        (lambda path: os.truncate(path, 2**31) if path.write_text("") == 0 else None, "larger than 64 MiB"),
    ],
    ids=["pipe", "device", "deep", "deep-lists", "sparse"],
)
def test_a_profile_that_is_no_file_or_has_no_end_is_told(tmp_path, monkeypatch, make, told):
    make(tmp_path / "odd.yaml")
    monkeypatch.setenv("VLM_PROFILE", str(tmp_path / "odd.yaml"))
    with pytest.raises(ConfigError, match=f"odd.yaml.*{told}"):
        load_settings(None)


def test_an_env_file_that_never_ends_is_told_and_none_is_none(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**31)
    for name, told in (("pipe", "no regular file"), ("sparse", "larger than 1 MiB")):
        with pytest.raises(ConfigError, match=f"{name}: cannot be read: {told}"):
            load_settings(tmp_path / name)
    for nothing in (Path("/dev/null"), tmp_path, tmp_path / "none"):
        load_settings(nothing)
