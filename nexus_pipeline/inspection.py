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
    weights, config = archive.tensors(WEIGHTS), archive.json("config.json")
    return {
        "file": file.name,
        "bytes": file.stat().st_size,
        "content_hash": archive.content_hash,
        "format_version": archive.manifest.version,
        "members": {name: spec.size_bytes for name, spec in archive.manifest.members.items()},
        "task": recipe.task.model_dump(mode="json"),
        "raw_tables": {t.name: [c.name for c in t.columns] for t in recipe.raw},
        "paths": {plan.path.name: plan.max_rows for plan in recipe.plans},
        "sentence_models": sentence_models(archive.json("tokenizer.json")),
        "config": config,
        "weights": {"tensors": len(weights), "numbers": sum(w.numel() for w in weights.values())},
        "attention": attention_backends(config["width"], config["heads"]),
        "optimization": archive.json("optimization.json"),
        "lineage": archive.json("lineage.json"),
    }


def sentence_models(tokenizer: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of the sentence model that reads a text, by column; without those of sub-words."""
    return {
        f"{table['table']}.{column['name']}": column["model_sha256"]
        for table in tokenizer["tables"]
        for column in table["text"]
        if "model_sha256" in column
    }


def attention_backends(width: int, heads: int) -> dict[str, Any]:
    """The backend this machine chooses for each kind of call, and why the others would not do."""
    import torch

    from nexus_model.layers.attention.call import AttentionCall, MaskKind
    from nexus_model.layers.attention.select import BACKENDS, explain_selection

    device = "cuda" if torch.cuda.is_available() else "cpu"
    kinds: dict[str, tuple[MaskKind, bool]] = {
        "between tables": ("any", False),
        "along a history, biased by time": ("padding", True),
        "along a history, rotary or without position": ("padding", False),
    }
    calls = {}
    for told, (mask, has_bias) in kinds.items():
        call = AttentionCall(torch.float32, device, width // heads, has_bias=has_bias, mask=mask)
        chosen, refused = explain_selection(call)
        calls[told] = {
            "chosen": chosen,
            "refused": {refusal.backend: refusal.reasons for refusal in refused},
        }
    return {"known": [backend.name for backend in BACKENDS], "device": device, "calls": calls}


def told_attention(attention: dict[str, Any]) -> list[str]:
    """One line per kind of call."""
    return [
        f"  {told}: {call['chosen']}; "
        + "; ".join(f"not {name}: {', '.join(why)}" for name, why in call["refused"].items())
        for told, call in attention["calls"].items()
    ]


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
        "attention backends on this machine:",
        *told_attention(described["attention"]),
        "reads:",
        *(f"  {name}: newest {rows} rows" for name, rows in described["paths"].items()),
        "raw tables:",
        *(f"  {name}: {', '.join(cols)}" for name, cols in described["raw_tables"].items()),
        *(
            f"{column} is read by the sentence model {sha256} (SHA-256), which predictions need"
            for column, sha256 in described["sentence_models"].items()
        ),
    ]
    return "\n".join(lines)
