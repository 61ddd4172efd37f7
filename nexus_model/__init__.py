"""NexusFormer: learn from related tables as they are.

>>> from nexus_model import load_model
>>> load_model.__name__
'load_model'
"""

from typing import Any

__all__ = ["NexusConfig", "NexusFlowModelArtifact", "NexusFormer", "Predictor", "load_model"]

_HOMES = {
    "NexusConfig": "nexus_model.config",
    "NexusFlowModelArtifact": "nexus_model.artifact.model_file",
    "NexusFormer": "nexus_model.model",
    "Predictor": "nexus_model.serve.predictor",
    "load_model": "nexus_model.serve.predictor",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: torch is slow, and the schema needs none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nexus_model' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
