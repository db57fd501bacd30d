"""Say whether this machine can run the pipeline, and what to do where it cannot.

Checks Python, the packages of requirements.txt, that torch, torchvision and timm work together, the
device and precision that would be chosen and why, a decoder for every DICOM transfer syntax, free
disk, the cache of pretrained weights, and optional packages. One line each: ok, absent (optional,
with what it is for), warn (it will do, but read the line) or MISSING, with the command that mends
it. Exit code 1 when something needed is missing. Nothing is written, and nothing is fetched.

    python tools/doctor.py --data_dir data --model_dir model
"""

import sys

try:
    from intracranial.surroundings import make_safe
except ModuleNotFoundError:  # `check_packages` says so
    pass
else:
    if __name__ == "__main__":
        make_safe()  # before the imports that take seconds

import argparse
import importlib.metadata
import importlib.util
import os
import re
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

ROOT = Path(__file__).resolve().parent.parent

OK, ABSENT, WARN, MISSING = "ok", "absent", "warn", "MISSING"
OLDEST_PYTHON, NEWEST_TESTED = (3, 11), (3, 13)
GIB = 2**30

LOW_DISK_GIB = 10.0
"""Free space that draws a warning: about 130 cached series of 150 slices of 512 x 512."""

RESOLVE_SECONDS = 3.0
"""Time given to the resolver before a host counts as out of reach."""

PIP = f"{sys.executable} -m pip install"
"""Start of the commands that mend."""

PACKAGES_OF_PLUGIN = {
    "gdcm": "python-gdcm",
    "pillow": "pillow",
    "pylibjpeg": "pylibjpeg pylibjpeg-rle pylibjpeg-openjpeg",
}
"""What to install for a plugin of pydicom."""

OPTIONAL = {
    "highdicom": "DICOM structured reports, tools/predict.py --structured_report",
    "onnx": "tools/export_onnx.py",
    "onnxscript": "tools/export_onnx.py",
    "onnxruntime": "tools/export_onnx.py, which compares each network with torch",
    "tensorboard": "--tensorboard of both trainings",
}
"""Packages that a flag or a tool needs, and which; the eight stages do without."""

DEVELOPMENT = {
    "SimpleITK": "the reader that tests compare with",
    "pytest": "the tests",
    "ruff": "make lint",
    "mypy": "make types",
    "import-linter": "make imports",
}
"""Packages of requirements-dev.txt, and what needs them."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    state: str
    words: str
    mend: str = ""
    """Command that mends it, '' when there is nothing to mend."""


def check_python() -> Iterator[Finding]:
    """The interpreter's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        mend = f"make install PYTHON=python{oldest}"
        yield Finding(MISSING, f"Python {version} is older than {oldest}", mend)
    elif sys.version_info[:2] > NEWEST_TESTED:
        yield Finding(WARN, f"Python {version} is newer than any that the tests have seen")
    else:
        yield Finding(OK, f"Python {version}, {os.cpu_count()} CPU cores")


def requirements(path: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Names and lowest versions of a requirements file; () where it states none."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    parts = [re.split(r">=", line) for line in lines if line and not line.startswith("-")]
    return [(one[0], as_numbers(one[1]) if len(one) > 1 else ()) for one in parts]


def as_numbers(version: str) -> tuple[int, ...]:
    """The numbers at the start of a version: "2.15.0+cu132" is (2, 15, 0)."""
    return tuple(map(int, re.findall(r"\d+", re.split(r"[^\d.]", version)[0])))


def check_packages() -> Iterator[Finding]:
    """Every package of requirements.txt is installed and new enough."""
    wanted = requirements(ROOT / "requirements.txt")
    bad = 0
    for name, lowest in wanted:
        version = installed(name)
        if not version or as_numbers(version) < lowest:
            bad += 1
            least = ">=" + ".".join(map(str, lowest)) if lowest else ""
            what = f"is {version}, too old" if version else "is not installed"
            yield Finding(MISSING, f"package {name} {what}", f'{PIP} "{name}{least}"')
    if importlib.util.find_spec("intracranial") is None:
        bad += 1
        what = "the pipeline's own package, intracranial, is not installed"
        yield Finding(MISSING, what, f"{PIP} -e {ROOT}")
    if not bad:
        yield Finding(OK, f"all {len(wanted)} packages of requirements.txt")


def check_torch() -> Iterator[Finding]:
    """Torch, torchvision and timm import, and torchvision's compiled operators fit torch."""
    mend = f"{PIP} --upgrade --force-reinstall torch torchvision timm"
    try:
        import timm
        import torch
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:  # a build for another torch fails in many ways
        yield Finding(MISSING, f"torch, torchvision and timm do not work: {one_line(error)}", mend)
        return
    names = f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm"
    builds = {str(one.__version__).partition("+")[2] for one in (torch, torchvision)}
    if len(builds) > 1:
        yield Finding(WARN, f"{names} {timm.__version__}: built for different devices", mend)
    else:
        yield Finding(OK, f"{names} {timm.__version__} work together")


def check_device() -> Iterator[Finding]:
    """Device and precision that `auto` chooses, with the reason."""
    try:
        import torch

        from intracranial.compute import choose_compute

        compute = choose_compute()
    except Exception as error:  # torch itself is the matter of `check_torch`
        yield Finding(MISSING, f"no device: {one_line(error)}", f"{PIP} --upgrade torch")
        return
    if compute.device.type == "cuda":
        memory = torch.cuda.get_device_properties(compute.device).total_memory / GIB
        yield Finding(OK, f"device: {compute.reason}; {memory:.0f} GiB")
    else:
        built = "torch is built for CUDA, but sees no device" if torch.version.cuda else "no GPU"
        yield Finding(OK, f"device: {compute.reason} ({built})")


def available_plugins(syntax: str) -> tuple[str, ...]:
    """pydicom's usable decoding plugins of a transfer syntax."""  # noqa: D403
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    return tuple(get_decoder(UID(syntax)).available_plugins)


def check_decoders() -> Iterator[Finding]:
    """A decoder for every transfer syntax, uncompressed ones together."""
    try:
        from intracranial.imaging.dicom.pixels import DECODED_AS, PREFERRED_PLUGIN
    except Exception as error:  # pydicom is missing or broken
        yield Finding(MISSING, f"no DICOM reader: {one_line(error)}", f"{PIP} pydicom")
        return
    yield Finding(OK, "uncompressed, big endian and deflated transfer syntaxes: built in")
    for syntax, preferred in PREFERRED_PLUGIN.items():
        name = f"{syntax.name} ({syntax})"
        plugins = available_plugins(DECODED_AS.get(syntax, syntax))
        mend = f"{PIP} {PACKAGES_OF_PLUGIN[preferred]}"
        if preferred in plugins:
            yield Finding(OK, f"{name}: {preferred}")
        elif plugins:
            yield Finding(WARN, f"{name}: {plugins[0]}, slower than {preferred}", mend)
        else:
            yield Finding(MISSING, f"{name}: no decoder", mend)


def check_disk(folder: Path, flag: str) -> Iterator[Finding]:
    """Free space and the right to write where a folder is or will be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        mend = f"give another {flag}, or: chmod u+w {place}"
        yield Finding(MISSING, f"{flag} {folder}: {place} cannot be written", mend)
        return
    free = shutil.disk_usage(place).free / GIB
    words = f"{flag} {folder}: {free:.0f} GiB free"
    yield Finding(OK if free >= LOW_DISK_GIB else WARN, words)


def check_weights() -> Iterator[Finding]:
    """The cache of pretrained weights: where, whether writable, what is in it, and its host."""
    try:
        from huggingface_hub import constants
    except Exception as error:  # timm's dependency; without it only --weights FILE and none work
        yield Finding(WARN, f"no weights from the hub: {one_line(error)}", f"{PIP} huggingface_hub")
        return
    cache = Path(constants.HF_HUB_CACHE)
    place = cache.absolute()
    while not place.exists():
        place = place.parent
    models = [one.name.removeprefix("models--") for one in sorted(cache.glob("models--*"))]
    words = f"weights cache {cache}: " + (", ".join(models) or "empty")
    if os.access(place, os.W_OK):
        yield Finding(OK, words)
    else:
        yield Finding(WARN, f"{words}; cannot be written", "export HF_HOME=A_WRITABLE_FOLDER")
    host = str(urlparse(constants.ENDPOINT).hostname)
    if constants.HF_HUB_OFFLINE:
        yield Finding(OK, "weights host: not asked, HF_HUB_OFFLINE is set")
    elif urllib.request.getproxies():
        yield Finding(OK, f"weights host {host}: through a proxy, not tried")
    elif resolves(host):
        yield Finding(OK, f"weights host {host}: its name resolves")
    else:
        words = f"weights host {host}: out of reach; cached weights, --weights FILE or none work"
        yield Finding(WARN, words)


def resolves(host: str) -> bool:
    """Whether a host's name resolves in time; a resolver without a network may take minutes."""
    found: list[bool] = []

    def ask() -> None:
        import socket

        try:
            socket.getaddrinfo(host, 443)
        except OSError:
            return
        found.append(True)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(RESOLVE_SECONDS)
    return bool(found)


def check_optional() -> Iterator[Finding]:
    """Packages that only some flags and tools need; one that is absent is no fault."""
    for name, purpose in OPTIONAL.items():
        version = installed(name)
        if version:
            yield Finding(OK, f"optional {name} {version}: {purpose}")
        else:
            yield Finding(ABSENT, f"optional {name}: {purpose}", f"{PIP} {name}")


def check_development() -> Iterator[Finding]:
    """Packages that only development needs."""
    for name, purpose in DEVELOPMENT.items():
        version = installed(name)
        if version:
            yield Finding(OK, f"for development {name} {version}")
        else:
            mend = f"{PIP} -r requirements-dev.txt"
            yield Finding(WARN, f"for development {name} is not installed: {purpose}", mend)


def installed(package: str) -> str:
    """Version of an installed package, '' when it is absent."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def one_line(error: BaseException) -> str:
    """An error's words on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def main(arguments: list[str] | None = None) -> int:
    """Run all checks and print a line for each; 1 when something needed is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--model_dir", type=Path, default=Path("model"))
    options = parser.parse_args(arguments)
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_python,
        check_packages,
        check_torch,
        check_device,
        check_decoders,
        lambda: check_disk(options.data_dir, "--data_dir"),
        lambda: check_disk(options.model_dir, "--model_dir"),
        check_weights,
        check_optional,
        check_development,
    ]
    missing = 0
    for check in checks:
        for finding in check():
            missing += finding.state == MISSING
            print(f"{finding.state:<8} {finding.words}", flush=True)
            if finding.mend and finding.state != OK:
                print(f"{'':<8} mend: {finding.mend}", flush=True)
    print(f"{missing} needed and missing" if missing else "everything that is needed is here")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
