"""Variants of a project: the same task with one block, operator, table or size changed."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from nexus_model.schema import ConfigurationError, Record
from nexus_pipeline.project import ProjectConfig, ablation_of, pretraining_of
from nexus_pipeline.settings.ablation import AblationGroup
from nexus_pipeline.settings.architecture import RelationName
from nexus_pipeline.steps.plan import also_asked

CYCLES = (0, 1, 2, 3, 4, 6)
EXPERTS = (4, 8)
DEFAULT = "as configured"


class Variant(Record):
    """Changed keys of the architecture and of every table; a table left out; fewer labels, or none
    but the task's own.

    ``against`` names the variant it is compared with.
    """

    group: AblationGroup | None = None
    name: str = DEFAULT
    architecture: dict[str, Any] = Field(default_factory=dict)
    tables: dict[str, Any] = Field(default_factory=dict)
    without: str | None = None
    label_share: float = 1.0
    pretrained: bool = False
    own_label_only: bool = False
    against: str = DEFAULT

    def of(self, project: ProjectConfig) -> ProjectConfig:
        """The project with the change, validated anew."""
        changed = project.model_dump()
        changed["architecture"] |= self.architecture
        changed["datasets"] = [dataset | self.tables for dataset in changed["datasets"]]
        return ProjectConfig(**changed, root=project.root)


def variants(project: ProjectConfig, task: str) -> tuple[Variant, ...]:
    """The project as it is, then every variant of the groups asked for, or only those named.

    Raises:
        ConfigurationError: a variant that was named is none of the groups'.
    """
    found, only = _of_groups(project, task), ablation_of(project).only
    if not only:
        return found
    known = {variant.name: variant for variant in found}
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise ConfigurationError(
            f"ablation.only: no variant of the groups is called {unknown[0]!r}; they are "
            f"{', '.join(name for name in known if name != DEFAULT)}"
        )
    asked = {DEFAULT, *only} | {known[name].against for name in only}
    return tuple(variant for variant in found if variant.name in asked)


def _of_groups(project: ProjectConfig, task: str) -> tuple[Variant, ...]:
    makers = {
        AblationGroup.BLOCKS: _blocks,
        AblationGroup.RELATIONS: _relations,
        AblationGroup.CYCLES: _cycles,
        AblationGroup.EXPERTS: _experts,
        AblationGroup.ENCODERS: _encoders,
    }
    found = [Variant()]
    for group in ablation_of(project).groups:
        if group is AblationGroup.TABLES:
            found += _tables(project, task)
            continue
        if group is AblationGroup.PRETRAINING:
            found += _pretraining(project)
            continue
        if group is AblationGroup.LABELS:
            found += _labels(project, task)
            continue
        for name, architecture, tables in makers[group]():
            changed = Variant(group=group, name=name, architecture=architecture, tables=tables)
            if changed.of(project) != project:
                found.append(changed)
    return tuple(found)


Change = tuple[str, dict[str, Any], dict[str, Any]]


def _blocks() -> Iterator[Change]:
    yield "no cross attention", {"cross_attention": False, "top_k_contexts": None}, {}
    yield "separate weights per cycle", {"share_refinement_weights": False}, {}
    yield "recycled with random cycles", {"recycle_sampling": True}, {}
    yield "each sample halts by itself", {"convergence_threshold": 1e-2}, {}
    yield "pair track", {"pair_dim": 16}, {}
    yield "two peers per table", {"top_k_contexts": 2}, {}
    yield "table dropout 0.1", {"table_dropout": 0.1}, {}
    yield "fusion by attention", {"fusion": "attention"}, {}
    yield "fusion by concatenation", {"fusion": "concat"}, {}
    yield "fusion by gates", {"fusion": "gated"}, {}
    additive = {"fusion": "additive", "head_members": 1}
    yield "additive answer", additive, {}
    alone = {"cross_attention": False, "top_k_contexts": None}
    yield "additive answer, no cross attention", additive | alone, {}
    yield "additive answer, neither", additive | alone | {"parent_hops": 0}, {}
    yield "rows read no parents", {"parent_hops": 0}, {}
    yield "those of one cutoff read each other", {"cohort_attention": True}, {}
    yield "eight heads", {"fusion": "attention", "head_members": 8}, {}
    yield "one summary token", {"summary_tokens": 1}, {}
    yield "GELU instead of SwiGLU", {"activation": "gelu"}, {}
    yield "RMS norm before feed-forwards", {"norm": "rms"}, {}
    yield "stochastic depth 0.1", {"stochastic_depth": 0.1}, {}
    yield "dropout 0", {"dropout": 0.0}, {}


def _relations() -> Iterator[Change]:
    for name in RelationName:
        if name is not RelationName.CROSS_CONTEXTUAL:
            yield f"relation {name}", {"relation": (name,), "top_k_contexts": None}, {}


def _cycles() -> Iterator[Change]:
    for cycles in CYCLES:
        yield f"{cycles} cycles", {"refinement_iterations": cycles}, {}


def _experts() -> Iterator[Change]:
    for experts in EXPERTS:
        yield f"{experts} experts", {"use_moe": True, "num_experts": experts}, {}


def _encoders() -> Iterator[Change]:
    # What belongs to one encoder only is cleared.
    plain: dict[str, Any] = {
        "num_decision_steps": None, "feature_selection": None, "sequence_model": None,
        "pattern": (), "position": None,
    }  # fmt: skip
    for kind in ("mlp", "standard", "ft_transformer", "tabnet", "timeseries"):
        yield f"every table by {kind}", {}, {**plain, "transformer_type": kind}
    timed = {**plain, "transformer_type": "timeseries"}
    yield "every table by a state space", {}, {**timed, "sequence_model": "ssm"}
    for numbers in ("periodic", "piecewise"):
        yield f"{numbers} numbers", {}, {"numerical_embedding": numbers}


def _tables(project: ProjectConfig, task: str) -> Iterator[Variant]:
    entity = next(
        (found.entity_table for found in project.tasks if task in found.names),
        project.target.target_table if project.target else "",
    )
    for dataset in project.datasets:
        if dataset.table != entity:
            yield Variant(
                group=AblationGroup.TABLES, name=f"without {dataset.table}", without=dataset.table
            )


def _labels(project: ProjectConfig, task: str) -> Iterator[Variant]:
    if also_asked(project, task):
        yield Variant(group=AblationGroup.LABELS, name="its own label only", own_label_only=True)


def _pretraining(project: ProjectConfig) -> Iterator[Variant]:
    group = AblationGroup.PRETRAINING
    for share in pretraining_of(project).label_shares:
        plain = DEFAULT if share == 1 else f"{share:.0%} of labels"
        if share != 1:
            yield Variant(group=group, name=plain, label_share=share)
        told = f"{share:.0%} of labels, pretrained"
        yield Variant(group=group, name=told, label_share=share, pretrained=True, against=plain)
