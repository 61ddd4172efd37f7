"""Peers that are no part of our installation, in folders of their own, made once."""

import os
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "build" / "peers"
FEATURETOOLS = ("featuretools==1.31.0", "pandas<2.3", "numpy>=2,<2.4", "pyarrow", "psutil")
FRAME = ("pytorch-frame==0.3.0",)


def own_environment(name: str, needs: tuple[str, ...]) -> str:
    """The Python of a virtual environment with these packages: for a peer that needs old ones."""
    folder = FOLDER / name
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *needs], check=True)
        (folder / "made").write_text("\n".join(needs), "utf-8")
    return str(python)


def beside_ours(name: str, needs: tuple[str, ...]) -> dict[str, str]:
    """The environment variables with which our Python also finds these packages.

    Their dependencies are ours, torch among them, so that both run on the same one.
    """
    folder = FOLDER / name
    if not (folder / "made").exists():
        asked = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder]
        subprocess.run([*asked, *needs], check=True)
        (folder / "made").write_text("\n".join(needs), "utf-8")
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, str(folder)])}
