"""Settings of one machine: where data lies and how hard to work.

Only `max_pixels` and `max_image_bytes` decide what gets in; they are part of every listing fingerprint.

Precedence: environment > `.env` > profile (`deploy/profiles/<name>.yaml`, or a path, named by `VLM_PROFILE`) >
default. Nothing is read at import.
"""

import os
import re
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from vlm_assets.words.cron import cron_fault, zone_fault
from vlm_assets.words.errors import ConfigError, Problem
from vlm_assets.words.faults import problems_of
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.nearest import did_you_mean
from vlm_assets.words.plain_files import read_plain
from vlm_assets.words.yaml_text import read_yaml

_MAX_ENV_BYTES: Final = 2**20
TEST_ROOT_SUFFIX: Final = "-test"
_NO_REACH: Final = {"remote": None, "notify_sns_topic": None, "notify_webhook": None, "nightly": False}
PROFILES = Path(__file__).resolve().parent.parent / "deploy" / "profiles"


_SNS_ARN = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?\Z")


class Settings(BaseSettings):
    """Typed settings; every field is `VLM_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="VLM_", extra="ignore", frozen=True, env_ignore_empty=True)

    profile: str = Field("local", description="A name under deploy/profiles, or a path to a YAML file.")
    catalog: Path | None = Field(
        None, description="Directory with corpus.yaml, sources/*.yaml and perhaps benchmarks/*.yaml."
    )
    data_root: Path | None = Field(
        None, description="Directory with a .vlm_root marker; all data lies under it."
    )
    remote: str | None = Field(None, description="s3://bucket/prefix for backup, restore and hydration.")
    remote_endpoint: str | None = Field(None, description="Endpoint of an S3-compatible store.")
    remote_concurrency: int = Field(
        8, ge=1, le=64, description="Requests to the remote in flight; of parts of rows four times as many."
    )
    remote_mb_per_s: float = Field(
        0.0, ge=0, description="Mean rate to and from the remote in MB/s, on this machine; 0: no limit."
    )

    remote_push: Literal["commit", "backup"] = Field(
        "commit", description="With a remote: push what a step commits at once, or leave it to `backup`."
    )

    rows_from: Literal["disk", "remote"] = Field(
        "disk",
        description="Where the writer of shards takes rows from whose slices are not on this disk: slices that it "
        "fetches first, or ranges of the remote's, of which it fetches the indexes alone. With `remote`, data of "
        "slices and shards leaves this disk once it was pushed and seen there.",
    )

    contact: str = Field("", description="E-mail or URL that the User-Agent names; servers may ask for it.")
    allow_private_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts, addresses or networks (comma-separated) that may be private or loopback."
    )
    proxy: SecretStr | None = Field(
        None,
        description="Outgoing proxy of all sources, http(s)://host:port; none: no proxy. Unset: http_proxy and "
        "https_proxy. no_proxy holds for both.",
    )
    ca_bundle: Path | None = Field(None, description="Extra CA certificates in PEM; TLS is always verified.")
    obey_robots: bool = Field(default=True, description="Obey robots.txt and X-Robots-Tag: noai.")
    obey_opt_outs: bool | None = Field(
        None,
        description="Obey TDMRep (the header tdm-reservation, /.well-known/tdmrep.json) and /ai.txt where URLs of "
        "images are fetched. Unset: as obey_robots.",
    )
    http_concurrency: int = Field(64, ge=1, description="Requests in flight in one run, over all hosts.")
    http_per_host: int = Field(8, ge=1, description="Requests in flight to one host, on this machine.")
    http_timeout_s: float = Field(30.0, gt=0, description="Without a byte for so long, a request has failed.")
    http_attempts: int = Field(5, ge=1, description="Tries of one request before it is a transient reject.")
    max_image_bytes: int = Field(256 * 2**20, ge=1024, description="Larger files are rejects.")
    max_pixels: int = Field(
        178_956_970,
        ge=1,
        description="Larger images are rejects, before decoding; Pillow opens no larger ones.",
    )
    decoder_timeout_s: float = Field(
        20.0, gt=0, description="Processor time for one image in the decoder child; no clock counts."
    )

    workers: int = Field(0, ge=0, description="Threads for probing, processes for pages; 0: one a core.")
    cache_days: int = Field(30, ge=0, description="Days without use after which a download goes; 0: never.")
    cache_max_gb: float = Field(
        0.0, ge=0, description="Downloads kept at most, oldest go first; 0: no limit."
    )
    keep_runs_days: int = Field(
        90, ge=0, description="Days that a run whose results were superseded stays in the UI; 0: for ever."
    )
    keep_cache: bool = Field(default=False, description="Keep downloads after their slice is committed.")
    log_format: Literal["text", "json"] = Field("text", description="Of the lines in the log files.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="The least that the log files hold."
    )
    test_mode: bool = Field(
        default=False,
        description="Cap the rows of every slice, in a data root of its own: `<data root>-test`.",
    )
    test_mode_rows: int = Field(100, ge=1, description="Rows a slice in test mode.")

    nightly: bool = Field(default=False, description="Run the nightly schedule as soon as the daemon runs.")
    nightly_cron: str = Field("30 2 * * *", description="When the nightly refresh begins.")
    nightly_timezone: str = Field("Europe/Istanbul", description="The time zone of `nightly_cron`.")
    sensor_interval_s: int = Field(60, ge=1, description="Seconds between two looks of a sensor.")
    max_concurrent_runs: int = Field(0, ge=0, description="Queued runs at once; 0: one a core, at most 16.")
    kind_slots: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict,
        description='Slices of a kind at a time on this machine, as {"pdf_folder": 2}; others by cores.',
    )
    # A run costs seconds of start-up, and a source has one run at a time; a slice inside it fails, is committed and
    # is resumed on its own whatever the number.
    slices_per_run: int = Field(128, ge=1, description="Slices that one backfill run works on.")
    manifests_from: Literal["disk", "remote"] = Field(
        "disk", description="What decides what is due: this disk, or the remote (where runs are tasks)."
    )
    step_executor: Literal["local", "ecs"] = Field(
        "local", description="Steps of a run as processes of this machine, or each as an ECS task."
    )
    step_tasks: int = Field(16, ge=1, description="Steps of one run that are ECS tasks at once.")
    step_storage: str | None = Field(
        None, description="s3://bucket/prefix for the few values between steps; needed where steps are tasks."
    )

    notify_sns_topic: str | None = Field(
        None, description="ARN of an SNS topic that is told of failed runs and audits."
    )
    notify_webhook: SecretStr | None = Field(
        None,
        description="http(s) URL that gets a JSON message for each failed run or audit; its path is a secret.",
    )
    ui_url: str | None = Field(
        None, description="Where people reach the Dagster UI; messages link to runs there."
    )

    hf_token: SecretStr | None = Field(None, description="Hugging Face token; HF_TOKEN serves as well.")
    github_token: SecretStr | None = Field(None, description="GitHub token; GITHUB_TOKEN serves as well.")

    @field_validator("allow_private_hosts", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        return tuple(p.strip() for p in value.split(",") if p.strip()) if isinstance(value, str) else value

    @field_validator("notify_sns_topic")
    @classmethod
    def _an_arn(cls, value: str | None) -> str | None:
        if value is not None and not _SNS_ARN.match(value):
            raise ValueError("not the ARN of an SNS topic, as arn:aws:sns:eu-central-1:123456789012:name")
        return value

    @field_validator("notify_webhook")
    @classmethod
    def _a_webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _http_url(value.get_secret_value())
        return value

    @field_validator("proxy")
    @classmethod
    def _a_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().strip().lower() != "none":
            _proxy_url(value.get_secret_value().strip())
        return value

    @field_validator("nightly_cron", "nightly_timezone")
    @classmethod
    def _a_time(cls, value: str, info: ValidationInfo) -> str:
        fault = cron_fault(value) if info.field_name == "nightly_cron" else zone_fault(value)
        if fault:
            raise ValueError(fault)
        return value

    @field_validator("ui_url")
    @classmethod
    def _a_ui(cls, value: str | None) -> str | None:
        return None if value is None else _http_url(value).rstrip("/")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments of `load_settings` first, then environment, `.env`, and the profile as lowest."""
        del settings_cls, file_secret_settings
        return init_settings, env_settings, dotenv_settings, _ProfileSource(cls)

    @property
    def heeds_opt_outs(self) -> bool:
        """Whether TDMRep and ai.txt are obeyed: `obey_opt_outs`, or what `obey_robots` says."""
        return self.obey_robots if self.obey_opt_outs is None else self.obey_opt_outs

    @property
    def worker_count(self) -> int:
        """Workers, with 0 resolved to the CPUs this process may use."""
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def root(self) -> DataRoot:
        """The data root.

        Raises:
            ConfigError: not set, or without its marker.
        """
        if self.data_root is None:
            raise ConfigError(
                Problem("settings", "VLM_DATA_ROOT", "not set; name the folder that holds all data")
            )
        root = DataRoot(self.data_root.absolute())
        if not root.marker.is_file():
            there = root.path.is_dir()
            lacks = f"has no {root.marker.name} marker" if there else "does not exist"
            raise ConfigError(
                Problem(
                    "settings", "VLM_DATA_ROOT",
                    f"{root.path} {lacks}. Is the volume mounted? For a new root: vlm-assets init {root.path}"
                    + (f", or touch {root.marker}" if there else "")
                    + (" (of test mode: vlm-assets build --test-mode)" if self.test_mode else ""),
                )
            )  # fmt: skip
        if root.test_marker.is_file() != self.test_mode:
            told = (
                "is of test mode: set VLM_TEST_MODE=true too"
                if not self.test_mode
                else "is no root of test mode"
            )
            raise ConfigError(Problem("settings", "VLM_DATA_ROOT", f"{root.path} {told}, or name another"))
        return root

    @property
    def catalog_dir(self) -> Path:
        """The catalogue directory.

        Raises:
            ConfigError: not set, or not a directory.
        """
        if self.catalog is None:
            raise ConfigError(
                Problem("settings", "VLM_CATALOG", "not set; name a directory with corpus.yaml and sources/")
            )
        if not self.catalog.is_dir():
            raise ConfigError(Problem("settings", "VLM_CATALOG", f"{self.catalog} is not a directory"))
        return self.catalog.absolute()


def _http_url(value: str) -> str:
    """The URL; the error quotes nothing of it, for it may be a secret."""
    try:
        parts = urlsplit(value)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or parts.username is not None or any(c.isspace() for c in value):
        raise ValueError("not an http(s) URL with a host and without a user")
    return value


def _proxy_url(value: str) -> None:
    """Refuses what is no proxy; the error quotes nothing of it, for it may hold a password."""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("not the URL of an http or https proxy, nor `none`")


class _ProfileSource(PydanticBaseSettingsSource):
    """The chosen profile's YAML as the lowest source."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return _read_profile(str(self.current_state.get("profile") or "local"))


def _profile_path(name: str) -> Path:
    return Path(name) if name.endswith((".yaml", ".yml")) or "/" in name else PROFILES / f"{name}.yaml"


def _read_profile(name: str) -> dict[str, Any]:
    path = _profile_path(name)
    if _is_missing(path):
        if name == "local":
            return {}
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml"))) or "none"
        raise ConfigError(
            Problem("settings", "VLM_PROFILE", f"no profile {name!r} ({path}); there are: {known}")
        )
    content, problems = read_yaml(path, str(path))
    if problems:
        raise ConfigError(problems)
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(Problem(str(path), "", "a profile is a mapping of settings"))
    values = {str(key).lower().removeprefix("vlm_"): value for key, value in content.items()}
    _refuse_unknown(values, str(path))
    return values


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def _refuse_unknown(names: Iterable[str], place: str) -> None:
    known = Settings.model_fields
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ConfigError(
            [
                Problem(
                    place,
                    f"VLM_{name}".upper(),
                    _unknown(name, known),
                    _line_of(name, place),
                )
                for name in unknown
            ]
        )


def _unknown(name: str, known: Iterable[str]) -> str:
    told = did_you_mean(f"VLM_{name}".upper(), [f"VLM_{one}".upper() for one in known])
    near = told if told.startswith("did") else "all of them stand in vlm_assets/docs/reference.md"
    return f"no such setting; {near}"


def _line_of(name: str, place: str) -> int | None:
    """The line of a file that gives a setting a value; None where it is no file, or has none."""
    if not Path(place).is_file():
        return None  # whoever is asked has read it within bounds
    wanted = re.compile(rf"(?:export\s+)?(?:VLM_)?{re.escape(name)}\s*[:=]", re.IGNORECASE)
    lines = Path(place).read_text("utf-8", "replace").splitlines()
    return next((number for number, line in enumerate(lines, 1) if wanted.match(line.strip())), None)


def _place_of(name: str, overrides: Mapping[str, Any], env_file: Path | str | None) -> str:
    """What gives a setting its value: the environment, a file, or the caller."""
    if name in overrides:
        return "settings"
    if name in _named_settings(os.environ):
        return "environment"
    values = dotenv_values(env_file) if env_file is not None else {}
    if name in _named_settings(values):
        return str(env_file)
    profile = overrides.get("profile") or os.environ.get("VLM_PROFILE") or values.get("VLM_PROFILE")
    return str(_profile_path(str(profile or "local")))


def _named_settings(names: Iterable[str]) -> list[str]:
    """Of environment names those that mean a setting, without prefix."""
    return [name[4:].lower() for name in names if name.upper().startswith("VLM_")]


def load_settings(env_file: Path | str | None = ".env", **overrides: Any) -> Settings:
    """Settings from arguments, environment, `env_file`, profile and defaults; in test mode confined to its own root.

    Raises:
        ConfigError: every setting that is unknown or malformed, at once.
    """
    _refuse_unknown(overrides, "arguments")
    _refuse_unknown(_named_settings(os.environ), "environment")
    if env_file is not None:
        check_env_file(Path(env_file))
        _refuse_unknown(_named_settings(dotenv_values(env_file)), str(env_file))
    try:
        settings = Settings(_env_file=env_file, **overrides)
    except ValidationError as error:
        problems = problems_of(error, Settings, None, "settings")
        raise ConfigError([_placed(one, overrides, env_file) for one in problems]) from error
    except SettingsError as error:
        name = next((one for one in Settings.model_fields if f'"{one}"' in str(error)), "")
        told = 'not JSON; it is a mapping such as {"pdf_folder": 2}'
        place = _place_of(name, overrides, env_file)
        raise ConfigError(Problem(place, f"VLM_{name}".upper(), told, _line_of(name, place))) from error
    return confined(settings) if settings.test_mode else settings


def check_env_file(path: Path) -> None:
    """Returns where every line of a `.env` can be read, or there is none. Its content is never shown: it has secrets.

    Raises:
        ConfigError: every line that is none, at once; a file that cannot be read.
    """
    if not (path.is_file() or path.is_fifo()):
        return
    try:
        bindings = list(parse_stream(StringIO(read_plain(path, _MAX_ENV_BYTES).decode("utf-8"))))
    except (OSError, UnicodeError) as error:
        why = "not UTF-8" if isinstance(error, UnicodeError) else error.strerror
        raise ConfigError(Problem(str(path), "", f"cannot be read: {why}")) from error
    told = "not of the form NAME=value; a value with quotes ends with the same one"
    lines = [one.original.line for one in bindings if one.error]
    if lines:
        raise ConfigError([Problem(str(path), "", told, line) for line in lines])


def _placed(problem: Problem, overrides: Mapping[str, Any], env_file: Path | str | None) -> Problem:
    """A field's problem under the name that a person knows, where it was given its value."""
    name, _, below = problem.key.partition(".")
    place = _place_of(name, overrides, env_file)
    key = f"VLM_{name}".upper() + (f".{below}" if below else "")
    return Problem(place, key, problem.message, _line_of(name, place))


def confined(settings: Settings) -> Settings:
    """The settings of test mode: its data root beside the given one, without remote, messages and nightly runs."""
    given = settings.data_root
    if given is not None and not DataRoot(given.absolute()).test_marker.is_file():
        given = test_root_of(given)
    return settings.model_copy(update={**_NO_REACH, "data_root": given})


def test_root_of(data_root: Path) -> Path:
    """`<data root>-test`."""
    root = data_root.absolute()
    return root.with_name(root.name + TEST_ROOT_SUFFIX)
