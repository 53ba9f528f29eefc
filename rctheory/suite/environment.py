"""The circumstances of a run, and the folder that receives it."""

import os
import platform
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

import torch

import rctheory
from rctheory.errors import UsageError
from rctheory.suite.claims import Suite
from rctheory.suite.record import Environment
from rctheory.suite.tier import Tier

LIBRARIES = ("torch", "numpy", "scipy", "sympy", "scikit-learn", "safetensors", "gguf")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(
    suite: Suite, *, device: torch.device, workers: int, threads: int, seed: int, tier: Tier, controls: bool
) -> Environment:
    """Collect versions, machine, commit and the options of a run."""
    return Environment(
        versions={"python": platform.python_version(), "rctheory": rctheory.__version__, **_versions()},
        platform=platform.platform(),
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        workers=workers,
        threads=threads,
        seed=seed,
        tier=tier.value,
        controls=controls,
        commit=_commit(suite.folder),
        fingerprint=suite.fingerprint(),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an optional part that is not installed
    return found


def _commit(folder: Path) -> str:
    """Return the git commit of the suite; empty outside a repository, or when the folder is not tracked there."""
    command = ["git", "-C", str(folder)]
    try:
        tracked = subprocess.run([*command, "ls-files", "claims.toml"], capture_output=True, text=True, timeout=10)
        if tracked.returncode or not tracked.stdout.strip():
            return ""
        arguments = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def prepare_folder(folder: Path) -> Path:
    """Create the output folder and prove that it takes a file.

    Raises:
        UsageError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        found = f"output folder {folder}: {error.strerror}"
        raise UsageError(found, "a folder that can be written", "choose another one with --out") from None
    return folder
