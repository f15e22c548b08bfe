"""What other machines are made of, unpacked beside this one: fonts, libraries, renderers, interpreters, processors.

Everything lies in one folder, which may be kept: a part that is there is not fetched again. `get` fetches with the
ordinary clients of Debian and of PyPI, as this machine has them set up.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

REPOSITORY: Final = Path(__file__).parents[2]
_KEYS: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_STABLE: Final = "bookworm"
_LARGEST_FONT_PACKAGE: Final = 6_000_000
"""Bytes. Above are collections of TeX, Chinese and Japanese: a tenth of the packages, four fifths of all bytes."""
_PIECES: Final = (
    "annotated-types", "blake3", "lxml", "numpy", "orjson", "packaging", "pdf2image", "pikepdf", "pillow",
    "pillow-heif", "pillow-jxl-plugin", "pyarrow", "pydantic", "pydantic-core", "pypdfium2", "pyyaml",
    "typing-extensions", "typing-inspection", "xxhash", "deprecated", "wrapt",
)  # fmt: skip
"""What `pieces` imports, of the lock."""


class NotHereError(Exception):
    """This machine cannot be made into that one; says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The folder of parts."""

    folder: Path

    def need(self, name: str) -> Path:
        """Where a part lies.

        Raises:
            NotHereError: it was not fetched.
        """
        path = self.folder / name
        if not path.is_dir():
            raise NotHereError(f"{name} was not fetched: python -m vlm_assets_tests.variations --get {name}")
        return path

    def get(self, name: str) -> Path:
        """Fetches a part, unless it is there.

        Raises:
            NotHereError: this machine has not what it takes, or a command failed; the message names it.
        """
        path = self.folder / name
        if path.is_dir():
            return path
        self.folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=self.folder))
        try:
            GETTERS[name](made, path)
            made.rename(path)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return path


def _run(*words: str | Path, folder: Path | None = None) -> str:
    if shutil.which(str(words[0])) is None:
        raise NotHereError(f"{words[0]} is not installed, which fetches it")
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise NotHereError(f"{' '.join(map(str, words[:3]))} … failed: {' '.join(said)}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class _Apt:
    """apt in a folder of its own, as if nothing were installed: for another suite, or another processor."""

    folder: Path
    options: tuple[str, ...]

    def __call__(self, *words: str, folder: Path | None = None) -> str:
        return _run(words[0], *self.options, *words[1:], folder=folder)

    def unpack(self, packages: Sequence[str], into: Path) -> None:
        """These packages and all that they depend on."""
        self("apt-get", "install", "-y", "--download-only", "--no-install-recommends", *packages)
        for package in sorted((self.folder / "cache/archives").glob("*.deb")):
            _run("dpkg-deb", "-x", package, into)


@contextmanager
def _apt(suite: str, architecture: str = "amd64") -> Iterator[_Apt]:
    if not _KEYS.is_file():
        raise NotHereError(f"{_KEYS} is missing: Debian's packages come from a Debian")
    with tempfile.TemporaryDirectory(prefix="apt-") as name:
        folder = Path(name)
        for part in ("lists/partial", "cache/archives/partial", "state"):
            (folder / part).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(
            f"deb [arch={architecture} signed-by={_KEYS}] {_mirror()} {suite} main\n", "utf-8"
        )
        options = {
            "Dir::Etc::sourcelist": folder / "sources.list", "Dir::Etc::sourceparts": "-",
            "Dir::State": folder / "state", "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status", "Dir::Cache": folder / "cache",
            "APT::Architecture": architecture, "APT::Architectures::": architecture, "APT::Sandbox::User": "root",
        }  # fmt: skip
        apt = _Apt(folder, tuple(word for key, value in options.items() for word in ("-o", f"{key}={value}")))
        apt("apt-get", "update", "-qq")
        yield apt


def _mirror() -> str:
    """Where this machine's own packages come from."""
    told = _run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    found = [line for line in told.splitlines() if line.rstrip("/").endswith("/debian")]
    if not found:
        raise NotHereError("apt knows no mirror of Debian's packages")
    return found[0]


def poppler(suite: str) -> Callable[[Path, Path], None]:
    """Poppler of a release of Debian, run by the loader and the libraries of that release."""

    def get(made: Path, path: Path) -> None:
        with _apt(suite) as apt:
            apt.unpack(["poppler-utils"], made)
        loader, libraries = "usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"
        if not (made / loader).exists():
            loader = "lib64/ld-linux-x86-64.so.2"
        _script(
            made / "bin/pdftoppm",
            f'exec "{path}/{loader}" --library-path "{path}/{libraries}:{path}/lib/x86_64-linux-gnu" '
            f'"{path}/usr/bin/pdftoppm" "$@"',
        )

    return get


def _script(path: Path, line: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n", "utf-8")
    path.chmod(0o755)


def _fonts(made: Path, _: Path) -> None:
    """Every package of Debian's section `fonts` but the largest."""
    with _apt(_STABLE) as apt:
        records = apt("apt-cache", "dumpavail").split("\n\n")
        fonts = [record for record in records if re.search(r"^Section: fonts$", record, re.MULTILINE)]
        small = [record for record in fonts if int(_field(record, "Size")) < _LARGEST_FONT_PACKAGE]
        names = sorted({_field(record, "Package") for record in small})
        apt("apt-get", "download", *names, folder=apt.folder)
        for package in sorted(apt.folder.glob("*.deb")):
            _run("dpkg-deb", "-x", package, made)
    (made / "told").write_text(f"{len(names)} of {len(fonts)} packages, without those above 6 MB", "utf-8")


def _field(record: str, name: str) -> str:
    found = re.search(rf"^{name}: (\S+)", record, re.MULTILINE)
    return found.group(1) if found else ""


def _zlib_ng(made: Path, _: Path) -> None:
    """Built as what stands in for zlib, from the sources that come with the Python package of that name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-binary",
            ":all:",
            "zlib-ng",
            "-d",
            folder,
        )
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        sources = next(folder.glob("*/src/zlib_ng/zlib-ng"))
        _run("cmake", "-S", sources, "-B", folder / "b", "-DZLIB_COMPAT=ON", "-DBUILD_TESTING=OFF",
             "-DWITH_GTEST=OFF", "-DCMAKE_BUILD_TYPE=Release")  # fmt: skip
        _run("cmake", "--build", folder / "b")
        shutil.copy(folder / "b/libz.so.1", made / "libz.so.1")


def _locale(made: Path, _: Path) -> None:
    """Turkish, by the C library's own sources of locales."""
    if not Path("/usr/share/i18n/locales/tr_TR").is_file():
        raise NotHereError("the C library's sources of locales are missing: apt-get install locales")
    _run("localedef", "-i", "tr_TR", "-f", "UTF-8", made / "tr_TR.UTF-8")


def python(version: str) -> Callable[[Path, Path], None]:
    """An environment of the lock's packages with another interpreter, by uv."""

    def get(made: Path, _: Path) -> None:
        _run(_uv(), "venv", "-q", "--clear", "--python", _interpreter(version), made)
        _run(_uv(), "pip", "sync", "-q", "--python", made / "bin/python", REPOSITORY / "requirements.lock")
        # What it says of itself, version and commands, is asked for; its code is taken from the checkout
        _run(_uv(), "pip", "install", "-q", "--no-deps", "--python", made / "bin/python", REPOSITORY)

    return get


def _interpreter(version: str) -> str:
    """One that pyenv keeps, whose names in PATH answer only where it is chosen; else what uv finds or fetches."""
    kept = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    return next((str(path) for path in sorted(kept.glob(f"{version}.*/bin/python"))), version)


def _uv() -> str:
    return shutil.which("uv", path=f"{Path(sys.prefix, 'bin')}:{os.environ.get('PATH', '')}") or "uv"


def _qemu(made: Path, _: Path) -> None:
    with _apt(_STABLE) as apt:
        apt.unpack(["qemu-user-static"], made)


def _aarch64(made: Path, _: Path) -> None:
    """Debian for that processor with Python and Poppler, and the lock's packages as far as `pieces` needs them."""
    with _apt(_STABLE, "arm64") as apt:
        apt.unpack(["python3.11", "poppler-utils"], made)
    wanted = [line for line in _locked("3.11") if Requirement(line).name in _PIECES]
    _run(_uv(), "pip", "install", "-q", "--no-deps", "--python-platform", "aarch64-manylinux_2_28",
         "--python-version", "3.11", "--target", made / "packages", *wanted)  # fmt: skip


def _locked(version: str) -> Iterator[str]:
    """What the lock names for such an interpreter, as `name==version`."""
    told = {"python_version": version, "python_full_version": f"{version}.2", "platform_machine": "aarch64"}
    for line in (REPOSITORY / "requirements.lock").read_text("utf-8").splitlines():
        if re.match(r"[a-z0-9-]+==", line):
            one = Requirement(line.rstrip(" \\"))
            if one.marker is None or one.marker.evaluate(told):
                yield f"{one.name}{one.specifier}"


GETTERS: Final[dict[str, Callable[[Path, Path], None]]] = {
    **{f"poppler-{suite}": poppler(suite) for suite in ("bookworm", "trixie", "sid")},
    "fonts": _fonts,
    "zlib-ng": _zlib_ng,
    "locale": _locale,
    **{f"python-{version}": python(version) for version in ("3.12", "3.13")},
    "qemu": _qemu,
    "aarch64": _aarch64,
}


def default_folder() -> Path:
    """Kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vlm-assets-variations"
