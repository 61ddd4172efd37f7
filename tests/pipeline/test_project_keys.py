"""Every key of the project file: consumed, and explained on ``docs/project-file.md``.

The page is written from the models: ``python tests/pipeline/test_project_keys.py``, then review it.
"""

import inspect
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
import yaml
from pydantic.fields import FieldInfo

from nexus_model.schema import Record
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.settings.names import Names

PAGE = Path(__file__).resolve().parents[2] / "docs" / "project-file.md"
HEAD = """\
# The project file

`nexusflow.yaml`, key by key. Relative paths are relative to its folder. An unknown key is refused
with the nearest one.
Written from the models by `python tests/pipeline/test_project_keys.py`; a test compares the two.
"""
EVERY_KEY = """\
project_name: shop
datasets:
  - name: customers
    path: tables/customers.csv
    primary_key: [customer_id]
    foreign_keys: []
    time_column: joined_at
    transformer_type: tabnet
    complexity: small
    embed_dim: 16
    heads: 2
    blocks: 1
    numerical_embedding: piecewise
    use_moe: true
    num_experts: 4
    gradient_checkpointing: true
    context_weight: 2
    num_decision_steps: 3
    feature_selection: false
    categorical_columns: region
    numerical_columns: [age]
    text_columns: []
    sentence_vectors: false
    timestamp_columns: []
    ignore_columns: note
    on_orphan: drop
    max_rows: 5
  - name: orders.parquet
    transformer_type: timeseries
    sequence_model: hybrid
    pattern: ssm,attn
    position: rotary
    foreign_keys:
      - columns: customer_id
        references_table: customers.csv
        references_columns: customer_id
tasks:
  - name: again
    entity_table: customers
    kind: binary
    horizon_days: 30
    step_days: 15
    training_step_days: 5
    regimes: [seed_time, frozen]
    stale_copies: 1
    start_from: {seed_time: before}
    also_predict: before
    also_weight: 0.5
    sql: labels
  - {name: before, entity_table: customers, kind: binary, horizon_days: 60, sql: labels}
  - name: how_often
    entity_table: customers
    kind: multiclass
    classes: [never, once, more]
    horizon_days: 60
    sql: labels
  - name: how_much
    entity_table: customers
    kind: quantile
    quantiles: [0.2, 0.8]
    horizon_days: 60
    sql: labels
text_model: models/sentences
encoder_modules: src/encoders.py
split:
  validation_from: 2020-01-01
  test_from: 2021-01-01
  most_cutoffs: 9
  most_training_samples: 90
  validation_size: 0.1
  test_size: 0.1
  seed: 3
alignment: {max_depth: 1, max_rows: 7, paths: [[orders]], label_history: false}
tokenization: {numerical: quantile}
validation:
  range_margin: 0.2
  volume_margin: 0.2
  most_values: 9
  newest_behind: now
  too_good: 0.9
  accepted_leaks: [{name: orders.state, reason: known when the order is placed}]
architecture:
  global_embed_dim: 32
  refinement_iterations: 1
  heads: 2
  encoder_blocks: 2
  summary_tokens: 3
  dropout: 0.0
  table_dropout: 0.1
  share_refinement_weights: false
  recycle_sampling: true
  convergence_threshold: 0.01
  cross_attention: true
  relation: cross_contextual, sage
  top_k_contexts: 1
  pair_dim: 4
  fusion: gated
  head_members: 2
  cohort_attention: true
  parent_hops: 1
  activation: swiglu
  norm: layer
  initialiser: default
  stochastic_depth: 0.0
  use_moe: true
  num_experts: 4
  experts_per_token: 1
training:
  batch_size: 8
  memory_budget_mb: 512
  accumulate: 2
  batches: similar
  epochs: 3
  patience: 1
  convergence_threshold: 0.001
  gradient_clipping: 0.5
  precision: bf16
  compile: true
  ema_decay: 0.99
  balance_weight: 0.1
  z_weight: 0.01
  optimizer:
    name: lion
    lr: 0.01
    weight_decay: 0.1
    momentum: 0.8
    schedule: plateau
    word_rate: 4.0
    warmup_steps: 5
    decay_share: 0.3
    plateau_factor: 0.4
    plateau_patience: 3
  refit: true
  devices: 2
  strategy: fsdp
  seed: 1
engines: {alignment: spark, spark_master: 'local[2]', training: ray, ray_address: 'here:6379'}
mlops:
  experiment_name: shops
  log_attention_patterns: true
  attention_every: 2
  logging_provider: wandb
  system_metrics: false
gate: {margin: 0.01, minimum: 0.6, slice_loss: 0.05, calibration_error: 0.2}
automation: {executor: multiprocess, look_every_s: 30, settled_s: 1, keep_versions: 3}
ensemble: {seeds: 3, judged_seeds: 1}
optimization:
  stages: prune, finetune
  largest_loss: 0.01
  target_size_mb: 2
  amount: 0.2
  criterion: wanda
  epochs: 1
  student_share: 0.2
  student_epochs: 3
raw_folder: data/elsewhere
schedule: {cron: "0 4 * * *", timezone: Europe/Berlin}
pretraining: {epochs: 2, hidden_share: 0.2, lr: 0.01, label_shares: [0.5, 1.0]}
ablation: {seeds: 2, groups: "blocks, tables", only: pair track, epochs: 4}
monitoring:
  window_days: 7
  reference_days: 90
  most_rows: 500
  alpha: 0.05
  psi: 0.3
  ks: 0.2
  cramers_v: 0.2
  missing: 0.1
  auroc: 0.7
  volume: 3
  novelty: 0.1
  metric: 0.2
card:
  {intended_use: calls, limits: new shops, ethics: none harmed, not_for: credit, owner: us}
"""


def sections(model: type[Record], path: str = "") -> Iterator[tuple[str, type[Record]]]:
    """The model and those inside it, by where they stand in the file."""
    yield path, model
    for name, field in model.model_fields.items():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Record):
                several = "[]" if field.annotation is not part and part not in opt(field) else ""
                yield from sections(part, f"{path}.{name}{several}".removeprefix("."))


def opt(field: FieldInfo) -> tuple[Any, ...]:
    """What an optional field holds when it is given."""
    parts = get_args(field.annotation)
    return tuple(part for part in parts if part is not type(None)) if type(None) in parts else ()


def kind_of(field: FieldInfo) -> str:
    """A field's type in words."""
    given = opt(field) or (field.annotation,)
    if given[0] == get_args(Names)[0]:
        return "name or list of names"
    if isinstance(given[0], type) and issubclass(given[0], StrEnum):
        return ", ".join(f"`{choice.value}`" for choice in given[0])
    if get_origin(given[0]) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(given[0]))
    if get_origin(given[0]) is dict or (
        isinstance(given[0], type) and issubclass(given[0], Record)
    ):
        return "mapping"
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    name = getattr(given[0], "__name__", "")
    return words.get(name, name if name == "date" else "list") + bounds(field)


def bounds(field: FieldInfo) -> str:
    """The bounds of a number."""
    signs = {
        annotated_types.Gt: ">",
        annotated_types.Ge: "at least",
        annotated_types.Lt: "<",
        annotated_types.Le: "at most",
        annotated_types.MultipleOf: "a multiple of",
    }
    attributes = {annotated_types.MultipleOf: "multiple_of"}
    said = [
        f"{sign} {getattr(found, attributes.get(kind, kind.__name__.lower()))}"
        for found in field.metadata
        for kind, sign in signs.items()
        if isinstance(found, kind)
    ]
    return f" ({', '.join(said)})" if said else ""


def default_of(field: FieldInfo) -> str:
    """A field's default as YAML would have it."""
    if field.is_required():
        return "**needed**"
    if (
        field.default_factory
        or field.default in (None, (), "")
        or isinstance(field.default, Record)
    ):
        return ""
    value = field.default
    if isinstance(value, tuple):
        return f"`{', '.join(str(part) for part in value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def said_of(field: FieldInfo) -> str:
    """A field's description; its placeholders are no HTML."""
    return (field.description or "").replace("<", "\\<")


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for path, model in sections(ProjectConfig):
        lines += [f"## {f'`{path}`' if path else 'The file'}", inspect.getdoc(model) or "", ""]
        lines += ["| key | value | default | |", "|---|---|---|---|"]
        lines += [
            f"| `{name}` | {kind_of(field)} | {default_of(field)} | {said_of(field)} |"
            for name, field in model.model_fields.items()
            if not field.exclude
        ]
        lines.append("")
    return "\n".join(lines).replace("``", "`").rstrip() + "\n"


def test_the_page_is_what_the_models_say():
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_key_is_consumed(tmp_path):
    file = tmp_path / "nexusflow.yaml"
    file.write_text(EVERY_KEY, encoding="utf-8")
    project = load_project(file)
    said = yaml.safe_load(EVERY_KEY)
    assert {*said, "target"} == {*ProjectConfig.model_fields} - {"root"}
    for path, model in sections(ProjectConfig):
        if path and not path.startswith("target"):
            assert under(said, path) == {*model.model_fields}, path
    assert project["customers"].categorical_columns == ("region",)
    assert project.foreign_keys("orders")[0].references_columns == ("customer_id",)
    assert project.raw_path("customers") == tmp_path.resolve() / "tables/customers.csv"
    assert project.training.optimizer.warmup_steps == 5
    again = ProjectConfig.model_validate_json(project.model_dump_json())
    assert again.model_copy(update={"root": project.root}) == project


def under(said: Any, path: str) -> set[str]:
    """The keys given at a path, in any entry of a list."""
    places = [said]
    for part in path.split("."):
        name = part.removesuffix("[]")
        places = [place[name] for place in places if name in place]
        if part.endswith("[]"):
            places = [entry for place in places for entry in place]
    return {key for place in places for key in place}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
