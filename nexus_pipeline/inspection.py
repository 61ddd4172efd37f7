"""What a ``.nxf`` file holds, read from its members without building the model."""

from pathlib import Path
from typing import Any


def describe_artifact(file: Path) -> dict[str, Any]:
    """Manifest, task, tables, paths, configuration and provenance as plain data.

    Raises:
        ArtifactError: the file is missing, damaged or foreign.
    """
    from nexus_model.align.recipe import Recipe
    from nexus_model.artifact.archive import read_archive
    from nexus_model.artifact.model_file import WEIGHTS

    archive = read_archive(file)
    recipe = Recipe.model_validate(archive.json("recipe.json"))
    weights = archive.tensors(WEIGHTS)
    return {
        "file": file.name,
        "bytes": file.stat().st_size,
        "content_hash": archive.content_hash,
        "format_version": archive.manifest.version,
        "members": {name: spec.size_bytes for name, spec in archive.manifest.members.items()},
        "task": recipe.task.model_dump(mode="json"),
        "raw_tables": {t.name: [c.name for c in t.columns] for t in recipe.raw},
        "paths": {plan.path.name: plan.max_rows for plan in recipe.plans},
        "config": archive.json("config.json"),
        "weights": {"tensors": len(weights), "numbers": sum(w.numel() for w in weights.values())},
        "attention": attention_backends(),
        "optimization": archive.json("optimization.json"),
        "lineage": archive.json("lineage.json"),
    }


def attention_backends() -> dict[str, Any]:
    """The backend this machine would choose for float32, and why the others would not do."""
    import torch

    from nexus_model.layers.attention.call import AttentionCall
    from nexus_model.layers.attention.select import BACKENDS, select

    call = AttentionCall(torch.float32, "cpu", 16, has_bias=False)
    chosen, refused = select(call)
    return {
        "chosen": chosen.name,
        "refused": {refusal.backend: refusal.reasons for refusal in refused},
        "known": [backend.name for backend in BACKENDS],
    }


def told_artifact(described: dict[str, Any]) -> str:
    """The same in a few lines."""
    task, weights = described["task"], described["weights"]
    lines = [
        f"{described['file']}: NexusFormer for task {task['name']} ({task['kind']}), "
        f"nxf {described['format_version']}, {described['bytes']:,} bytes",
        f"content hash {described['content_hash']}",
        f"asked about {task['entity_table']}, horizon {task['horizon_days'] or 'none'} days",
        f"weights {weights['tensors']} tensors, {weights['numbers']:,} numbers, "
        f"{described['optimization'].get('weights', 'fp32')}",
        f"attention backend {described['attention']['chosen']}",
        "reads:",
        *(f"  {name}: newest {rows} rows" for name, rows in described["paths"].items()),
        "raw tables:",
        *(f"  {name}: {', '.join(cols)}" for name, cols in described["raw_tables"].items()),
    ]
    return "\n".join(lines)
