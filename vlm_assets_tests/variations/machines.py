"""The machines: each is this one with one thing otherwise, and a proof that it is."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from vlm_assets_tests.variations.parts import REPOSITORY, NotHereError, Parts

Seen = Mapping[str, str]
"""What `seen` says of a machine."""
_LATE: Final = Path(__file__).parent / "late"
_FONT_FOLDERS: Final = ("/usr/share/fonts", "/usr/local/share/fonts")
_MANY_FONTS: Final = 500


@dataclass(frozen=True, slots=True)
class Machine:
    """How a program is begun there."""

    python: str = sys.executable
    words: tuple[str, ...] = ()
    """In front of the interpreter."""
    environment: Mapping[str, str] = field(default_factory=dict)
    path: tuple[Path, ...] = ()
    """In front of PATH."""
    modules: tuple[Path, ...] = ()
    """In front of PYTHONPATH."""

    def run(self, *words: str, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Python with these words, to its end, in a clean environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_KEPT)}
        variables = {
            **kept, "LANG": "C.UTF-8", **environment, **self.environment,
            "PYTHONPATH": _joined(*self.modules, REPOSITORY),
            "PATH": _joined(*self.path, kept.get("PATH", os.defpath)),
        }  # fmt: skip
        return subprocess.run(
            [*self.words, self.python, *words], env=variables, capture_output=True, text=True, check=False
        )


_NOT_KEPT: Final = ("VLM_", "DAGSTER_", "HF_", "KAGGLE_", "LC_", "LANG", "LATE_", "PYTHON")


def _joined(*folders: Path | str) -> str:
    return os.pathsep.join(map(str, folders))


@dataclass(frozen=True, slots=True)
class Variation:
    """One machine. `make` gets the parts and a folder of its own; `differs` holds it to being another than plain."""

    name: str
    make: Callable[[Parts, Path], Machine]
    differs: Callable[[Seen, Seen], bool]
    """What is seen there and what on the plain machine."""
    shows: str
    """The property that is told of it."""
    trial: Literal["build", "pieces"] = "build"
    promised: bool = True
    """Whether the same bytes are promised there."""


def _plain(_: Parts, __: Path) -> Machine:
    return Machine()


def _no_fonts(_: Parts, folder: Path) -> Machine:
    return Machine(words=_over_fonts(folder / "empty"))


def _all_fonts(parts: Parts, _: Path) -> Machine:
    return Machine(words=_over_fonts(parts.need("fonts") / "usr/share/fonts"))


def _over_fonts(fonts: Path) -> tuple[str, ...]:
    """A mount namespace in which this folder lies over the system's fonts."""
    fonts.mkdir(parents=True, exist_ok=True)
    there = [name for name in _FONT_FOLDERS if Path(name).is_dir()]
    binds = " && ".join(f'mount --bind "{fonts}" {name}' for name in there)
    words = ("unshare", "-rm", "sh", "-c", f'{binds or "true"} && exec "$@"', "sh")
    tried = shutil.which("unshare") and subprocess.run(
        [*words, "true"], capture_output=True, text=True, check=False
    )
    if not tried or tried.returncode:
        said = tried.stderr.strip() if tried else "there is no unshare"
        raise NotHereError(f"no mount namespace of its own ({said}): run as root, or allow user namespaces")
    return words


def _zlib_ng(parts: Parts, _: Path) -> Machine:
    return Machine(environment={"LD_PRELOAD": str(parts.need("zlib-ng") / "libz.so.1")})


def _poppler(suite: str) -> Callable[[Parts, Path], Machine]:
    return lambda parts, _: Machine(path=(parts.need(f"poppler-{suite}") / "bin",))


def _c_locale(_: Parts, __: Path) -> Machine:
    return Machine(environment={"LC_ALL": "C"})


def _turkish(parts: Parts, _: Path) -> Machine:
    return Machine(environment={"LC_ALL": "tr_TR.UTF-8", "LOCPATH": str(parts.need("locale"))})


def _workers(count: int) -> Callable[[Parts, Path], Machine]:
    return lambda _, __: Machine(environment={"VLM_WORKERS": str(count)})


def _python(version: str) -> Callable[[Parts, Path], Machine]:
    return lambda parts, _: Machine(python=str(parts.need(f"python-{version}") / "bin/python"))


def _late(_: Parts, folder: Path) -> Machine:
    marks = folder / "late"
    marks.mkdir(parents=True)
    return Machine(environment={"LATE_MARKS": str(marks)}, path=(_LATE,), modules=(_LATE,))


def _processor(model: str) -> Callable[[Parts, Path], Machine]:
    def make(parts: Parts, folder: Path) -> Machine:
        emulator = str(parts.need("qemu") / "usr/bin/qemu-x86_64-static")
        poppler = shutil.which("pdftoppm")
        if poppler is None:
            raise NotHereError("no Poppler to emulate: apt-get install poppler-utils")
        bin_folder = _emulated_poppler(folder, f'"{emulator}" -cpu {model} "{poppler}"')
        return Machine(words=(emulator, "-cpu", model), path=(bin_folder,))

    return make


def _aarch64(parts: Parts, folder: Path) -> Machine:
    emulator, root = parts.need("qemu") / "usr/bin/qemu-aarch64-static", parts.need("aarch64")
    bin_folder = _emulated_poppler(folder, f'"{emulator}" -L "{root}" "{root}/usr/bin/pdftoppm"')
    return Machine(
        python=str(root / "usr/bin/python3.11"), words=(str(emulator), "-L", str(root)), path=(bin_folder,),
        environment={"PYTHONHOME": str(root / "usr")}, modules=(root / "packages",),
    )  # fmt: skip


def _emulated_poppler(folder: Path, command: str) -> Path:
    """An emulator hands programs that it starts to the kernel: Poppler is called through it anew."""
    script = folder / "bin/pdftoppm"
    script.parent.mkdir(parents=True)
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n', "utf-8")
    script.chmod(0o755)
    return script.parent


def _other(name: str) -> Callable[[Seen, Seen], bool]:
    return lambda seen, plain: seen[name] != plain[name]


def _is(name: str, begins: str) -> Callable[[Seen, Seen], bool]:
    return lambda seen, _: seen[name].startswith(begins)


VARIATIONS: Final = (
    Variation("plain", _plain, lambda _, __: True, "python"),
    Variation("no system fonts", _no_fonts, _is("fonts", "0"), "fonts"),
    Variation("every font package", _all_fonts,
              lambda seen, plain: int(seen["fonts"]) > int(plain["fonts"]) + _MANY_FONTS, "fonts"),
    Variation("zlib-ng", _zlib_ng, lambda seen, _: "zlib-ng" in seen["zlib at work"], "zlib at work"),
    Variation("Poppler of bookworm", _poppler("bookworm"), _is("poppler", "22.12"), "poppler"),
    Variation("Poppler of trixie", _poppler("trixie"), _is("poppler", "25.03"), "poppler"),
    Variation("Poppler of sid", _poppler("sid"), _other("poppler"), "poppler"),
    Variation("C locale", _c_locale, _is("locale", "C"), "locale"),
    Variation("Turkish locale", _turkish, _is("locale", "tr_TR.UTF-8"), "locale"),
    *(Variation(f"workers: {n}", _workers(n), _is("workers", str(n)), "workers") for n in (1, 2, 4)),
    *(Variation(f"Python {v}", _python(v), _is("python", f"{v}."), "python") for v in ("3.12", "3.13")),
    Variation("every page late once", _late, lambda seen, _: int(seen["late"]) > 20, "late"),
    *(Variation(f"CPU {cpu}", _processor(cpu), _is("vectors", vectors), "vectors", "pieces")
      for cpu, vectors in (("Nehalem", "sse4_2"), ("Haswell", "avx2"), ("EPYC", "avx2"))),
    Variation("CPU of aarch64", _aarch64, _is("machine", "aarch64"), "machine", "pieces", promised=False),
)  # fmt: skip
"""The first is what the others are held to."""
