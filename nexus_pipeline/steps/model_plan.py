"""The model's configuration as the project file says."""

import importlib.util
import sys
from collections.abc import Sequence

import torch

from nexus_model.align.recipe import Recipe
from nexus_model.api.encoders import SIZES
from nexus_model.config import NexusConfig
from nexus_model.encode.choose import (
    CustomConfig,
    EncoderConfig,
    FTTransformerConfig,
    MLPConfig,
    StandardConfig,
    TableConfig,
)
from nexus_model.encode.numbers import (
    NumbersConfig,
    PeriodicNumbers,
    PiecewiseNumbers,
    PlainNumbers,
)
from nexus_model.encode.tabnet import TabNetConfig
from nexus_model.encode.text_cells import TextConfig
from nexus_model.encode.time_series import TimeSeriesConfig
from nexus_model.evaluate.metrics import Direction, primary_metric
from nexus_model.exchange.refine import RefinementConfig
from nexus_model.exchange.relation.choose import RelationConfig
from nexus_model.exchange.relation.commnet import CommNetConfig
from nexus_model.exchange.relation.cross_contextual import CrossContextualConfig
from nexus_model.exchange.relation.gatv2 import GatV2Config
from nexus_model.exchange.relation.gps import GpsConfig
from nexus_model.exchange.relation.sage import SageConfig
from nexus_model.layers.experts.layer import ExpertsConfig
from nexus_model.layers.feed_forward import FeedForwardConfig
from nexus_model.layers.positions.alibi import AlibiConfig
from nexus_model.layers.positions.bucketed import BucketedConfig
from nexus_model.layers.positions.choose import PositionConfig
from nexus_model.layers.positions.learned import LearnedConfig
from nexus_model.layers.positions.none import NoPositionConfig
from nexus_model.layers.positions.rotary import RotaryConfig
from nexus_model.layers.positions.sinusoidal import SinusoidalConfig
from nexus_model.model import NexusFormer
from nexus_model.schema import ConfigurationError
from nexus_model.tokenize.also import AlsoLabel
from nexus_model.tokenize.statistics import Tokenizer
from nexus_model.train.loader import Goal
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.settings.architecture import ArchitectureConfig, RelationName
from nexus_pipeline.settings.dataset import DatasetConfig

POSITIONS: dict[str, PositionConfig] = {
    "none": NoPositionConfig(),
    "sinusoidal": SinusoidalConfig(),
    "learned": LearnedConfig(),
    "rotary": RotaryConfig(),
    "alibi": AlibiConfig(),
    "bucketed": BucketedConfig(),
}
NUMBERS: dict[str, NumbersConfig] = {
    "plain": PlainNumbers(),
    "periodic": PeriodicNumbers(),
    "piecewise": PiecewiseNumbers(),
}


def fresh_model(
    project: ProjectConfig,
    recipe: Recipe,
    tokenizer: Tokenizer,
    seed: int,
    also: Sequence[AlsoLabel] = (),
) -> NexusFormer:
    """The project's model for a task, its weights drawn from ``seed`` alone.

    It has a head for each further label, which changes no other weight that is drawn.
    """
    further = [own.goal.task for own in also]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NexusFormer(model_config(project), tokenizer, recipe.paths, recipe.task, further)


def goal_of(recipe: Recipe, tokenizer: Tokenizer, also: Sequence[AlsoLabel] = ()) -> Goal:
    """What a task's training aims at: its primary metric, the way that one is better.

    Further labels are learned beside it, and not judged.
    """
    is_high = primary_metric(recipe.task).direction is Direction.MAX
    return Goal(
        task=recipe.task,
        scale=tokenizer.label,
        higher_is_better=is_high,
        also=tuple(own.goal for own in also),
    )


def model_config(project: ProjectConfig) -> NexusConfig:
    """The model's configuration as the project file says."""
    chosen = project.architecture
    return NexusConfig(
        width=chosen.global_embed_dim,
        heads=chosen.heads,
        summary_tokens=chosen.summary_tokens,
        parent_hops=chosen.parent_hops,
        dropout=chosen.dropout,
        tables={d.table: table_config(d, chosen) for d in project.datasets},
        refinement=refinement_config(chosen),
        experts=_experts(chosen) if chosen.use_moe else None,
        feed_forward=_feed_forward(chosen),
        fusion=chosen.fusion,
        head_members=chosen.head_members,
        cohort=chosen.cohort_attention,
        table_dropout=chosen.table_dropout,
    )


def refinement_config(chosen: ArchitectureConfig) -> RefinementConfig:
    """How tables talk; with ``cross_attention: false`` each reads its own rows only."""
    relations = tuple(_relation(name, chosen) for name in chosen.relation)
    return RefinementConfig(
        cycles=chosen.refinement_iterations,
        relations=relations if chosen.cross_attention else (),
        share_weights=chosen.share_refinement_weights,
        sample_cycles=chosen.recycle_sampling,
        halt_below=chosen.convergence_threshold,
        pair_width=chosen.pair_dim,
    )


def _relation(name: RelationName, chosen: ArchitectureConfig) -> RelationConfig:
    match name:
        case RelationName.CROSS_CONTEXTUAL:
            return CrossContextualConfig(top_k=chosen.top_k_contexts)
        case RelationName.COMMNET:
            return CommNetConfig()
        case RelationName.SAGE:
            return SageConfig()
        case RelationName.GATV2:
            return GatV2Config()
        case RelationName.GPS:
            return GpsConfig()


def _experts(chosen: ArchitectureConfig, experts: int | None = None) -> ExpertsConfig:
    return ExpertsConfig(experts=experts or chosen.num_experts, chosen=chosen.experts_per_token)


def _feed_forward(chosen: ArchitectureConfig) -> FeedForwardConfig:
    keys = {"activation", "norm", "initialiser", "stochastic_depth"}
    return FeedForwardConfig(**chosen.model_dump(include=keys))


def table_config(dataset: DatasetConfig, chosen: ArchitectureConfig) -> TableConfig:
    """How a table is read: its own keys, else its complexity's, else the architecture's."""
    sizes = SIZES[dataset.complexity.value] if dataset.complexity else None
    uses_experts = dataset.use_moe if dataset.use_moe is not None else chosen.use_moe
    return TableConfig(
        encoder=encoder_config(dataset, chosen),
        width=dataset.embed_dim or (sizes[0] if sizes else None),
        numbers=NUMBERS[dataset.numerical_embedding],
        experts=_experts(chosen, dataset.num_experts) if uses_experts else None,
        feed_forward=_feed_forward(chosen),
        context_weight=dataset.context_weight,
        checkpoint=dataset.gradient_checkpointing,
    )


def encoder_config(dataset: DatasetConfig, chosen: ArchitectureConfig) -> EncoderConfig:
    """The encoder a dataset asks for."""
    _, heads, blocks = (
        SIZES[dataset.complexity.value]
        if dataset.complexity
        else (None, chosen.heads, chosen.encoder_blocks)
    )
    sizes = {"heads": dataset.heads or heads, "blocks": dataset.blocks or blocks}
    found: EncoderConfig
    match dataset.transformer_type:
        case "standard":
            found = StandardConfig(**sizes)
        case "mlp":
            found = MLPConfig(blocks=sizes["blocks"])
        case "ft_transformer":
            found = FTTransformerConfig(**sizes)
        case "text":
            found = TextConfig(**sizes)
        case "tabnet":
            keys = {"num_decision_steps", "feature_selection"}
            found = TabNetConfig(**dataset.model_dump(include=keys, exclude_none=True))
        case "timeseries":
            found = _time_series(dataset, sizes)
        case name:
            found = CustomConfig(name=name)
    return found


def _time_series(dataset: DatasetConfig, sizes: dict[str, int]) -> TimeSeriesConfig:
    return TimeSeriesConfig(
        **sizes,
        sequence_model=dataset.sequence_model or "attention",
        pattern=dataset.pattern,
        position=POSITIONS[dataset.position or "alibi"],
    )


def load_encoders(project: ProjectConfig) -> None:
    """Run the project's own encoder files, each once per process.

    Raises:
        ConfigurationError: a file is not there, or registers a name twice.
    """
    for name in project.encoder_modules:
        path = (project.root / name).resolve()
        module = f"nexusflow_project:{path}"
        if module in sys.modules:
            continue
        if not path.is_file():
            raise ConfigurationError(f"encoder_modules: no file {path}")
        spec = importlib.util.spec_from_file_location(module, path)
        if spec is None or spec.loader is None:
            raise ConfigurationError(f"encoder_modules: {path} is not a Python file")
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[module] = loaded
        spec.loader.exec_module(loaded)
