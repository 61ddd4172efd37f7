"""Where keys come from: a file or an environment variable, never the text of a command."""

import os
from pathlib import Path
from typing import Any

from nexus_model.schema import ConfigurationError

_LARGEST_KEY = 16_384


def key_material(file: Path | None, variable: str) -> bytes:
    """What the file holds; without a file, what the environment variable holds.

    Raises:
        ConfigurationError: neither is there, or it is too large to be a key.
    """
    if file is not None:
        try:
            with file.open("rb") as stored:
                content = stored.read(_LARGEST_KEY + 1)
        except OSError as error:
            raise ConfigurationError(f"{file}: key cannot be read: {error.strerror}") from error
    elif variable in os.environ:
        content = os.environ[variable].encode("utf-8", "surrogateescape")
    else:
        raise ConfigurationError(f"no key: name a key file or set {variable}")
    if len(content) > _LARGEST_KEY:
        raise ConfigurationError(f"{file or variable}: too large to be a key")
    return content


def cryptography_module(name: str) -> Any:
    """A part of the package cryptography, imported when a key is used.

    Raises:
        ConfigurationError: the package is not installed.
    """
    import importlib

    try:
        return importlib.import_module(f"cryptography.{name}")
    except ImportError as error:
        raise ConfigurationError(
            "signing and encrypting need the package cryptography: pip install cryptography"
        ) from error
