"""The project file: one YAML names tables, keys and a target; every key is consumed or refused.

Relative paths are relative to the folder of the YAML file, the project's root. There live
``dbt_like_sql/<project_name>/`` (SQL models) and ``data/<stage>/<project_name>/`` (what is made).
"""

import difflib
import hashlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from nexus_model.schema import ConfigurationError, ForeignKey, Record
from nexus_pipeline.settings.ablation import AblationConfig
from nexus_pipeline.settings.architecture import ArchitectureConfig
from nexus_pipeline.settings.automation import AutomationConfig
from nexus_pipeline.settings.card import CardConfig
from nexus_pipeline.settings.dataset import DatasetConfig
from nexus_pipeline.settings.engines import EnginesConfig
from nexus_pipeline.settings.ensemble import EnsembleConfig
from nexus_pipeline.settings.gate import GateConfig
from nexus_pipeline.settings.mlops import MlopsConfig, ScheduleConfig
from nexus_pipeline.settings.monitoring import MonitoringConfig
from nexus_pipeline.settings.names import DEFAULT_FILE, Names, plain_name
from nexus_pipeline.settings.optimization import OptimizationConfig
from nexus_pipeline.settings.pretraining import PretrainingConfig
from nexus_pipeline.settings.samples import AlignmentConfig, SplitConfig, TokenizationConfig
from nexus_pipeline.settings.task import TargetConfig, TaskConfig, check_also, check_origins
from nexus_pipeline.settings.training import TrainingConfig
from nexus_pipeline.settings.validation import ValidationConfig

BUILT_IN_ENCODERS = ("standard", "mlp", "ft_transformer", "tabnet", "timeseries", "text")


class ProjectConfig(Record):
    """The whole project file."""

    project_name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    datasets: tuple[DatasetConfig, ...] = Field(min_length=1)
    raw_folder: str | None = Field(
        None,
        description="where the raw files are, data/raw/<project> if unset; package:NAME/FOLDER is "
        "a folder of an installed package; the environment's NEXUS_RAW goes before",
    )
    target: TargetConfig | None = None
    tasks: tuple[TaskConfig, ...] = ()
    text_model: str | None = Field(
        None,
        description="folder of a sentence model (tokenizer.json, model.onnx) that reads text "
        "columns, sub-words if unset; the environment's NEXUSFLOW_TEXT_MODEL goes before",
    )
    encoder_modules: Names = Field(
        (), description="Python files that register encoders of your own, such as src/encoders.py"
    )
    split: SplitConfig = SplitConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    tokenization: TokenizationConfig = TokenizationConfig()
    validation: ValidationConfig = ValidationConfig()
    architecture: ArchitectureConfig = ArchitectureConfig()
    training: TrainingConfig = TrainingConfig()
    engines: EnginesConfig = EnginesConfig()
    mlops: MlopsConfig = MlopsConfig()
    gate: GateConfig = GateConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    automation: AutomationConfig = AutomationConfig()
    pretraining: PretrainingConfig | None = Field(
        None, description="models start from row encoders that were pretrained, if given"
    )
    ablation: AblationConfig | None = Field(
        None, description="its assets are in the graph if given; nexusflow ablate needs none"
    )
    ensemble: EnsembleConfig | None = Field(
        None, description="its assets are in the graph if given; nexusflow ensemble needs none"
    )
    optimization: OptimizationConfig | None = Field(
        None, description="its assets are in the graph if given; nexusflow optimize needs none"
    )
    monitoring: MonitoringConfig | None = Field(
        None, description="its assets are in the graph if given; nexusflow monitor needs none"
    )
    card: CardConfig | None = Field(
        None, description="what people say on the model card, which travels in the artifact"
    )
    root: Path = Field(Path(), exclude=True)

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        tables = [dataset.table for dataset in self.datasets]
        if len(set(tables)) != len(tables):
            raise ValueError(f"datasets must have different names, got {tables}")
        if (self.target is None) == (not self.tasks):
            raise ValueError("give either target (static) or tasks (in time), and not both")
        if self.tasks and self.split.test_from is None:
            raise ValueError("tasks need split.validation_from and split.test_from")
        check_origins(self.tasks)
        check_also(self.tasks)
        for dataset in self.datasets:
            kind = dataset.transformer_type
            if kind not in BUILT_IN_ENCODERS and not self.encoder_modules:
                raise ValueError(
                    f"datasets.{dataset.table}.transformer_type is {kind!r}"
                    f"{_nearest(kind, list(BUILT_IN_ENCODERS))}"
                )
        taken = sorted(set(tables) & set(self._made_names(tables)))
        if taken:
            raise ValueError(
                f"datasets.{taken[0]}: something we make has this name; give it another name, and "
                "its file as path"
            )
        for said, name in self._table_mentions():
            if name not in tables:
                raise ValueError(f"{said} names table {name!r}{_nearest(name, tables)}")
        return self

    def _made_names(self, tables: Sequence[str]) -> Iterator[str]:
        """Names of what is made beside the tables."""
        yield "database"
        yield from (f"links_{table}" for table in tables)
        for task in self.task_names:
            yield from (f"{made}_{task}" for made in ("samples", "index", "label_history"))
        yield from (f"cutoffs_{task.name}" for task in self.tasks)

    def _table_mentions(self) -> Iterator[tuple[str, str]]:
        if self.target:
            yield "target.target_table", self.target.target_table
        for task in self.tasks:
            yield f"tasks.{task.name}.entity_table", task.entity_table
        for dataset in self.datasets:
            for key in dataset.foreign_keys:
                yield f"datasets.{dataset.table}.foreign_keys", key.references_table

    def __getitem__(self, table: str) -> DatasetConfig:
        return next(dataset for dataset in self.datasets if dataset.table == table)

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks; a static project has one, named after its target column."""
        if self.target:
            return (plain_name(self.target.target_column).lower(),)
        return tuple(name for task in self.tasks for name in task.names)

    def label_columns(self, table: str) -> tuple[str, ...]:
        """Columns of a table that a static task predicts; they are never inputs."""
        if self.target is None or self.target.target_table != table:
            return ()
        return (self.target.target_column, *self.target.also_predict)

    @property
    def sql_folder(self) -> Path:
        """Where this project's SQL models and checks live."""
        return self.root / "dbt_like_sql" / self.project_name

    @property
    def data(self) -> Path:
        """Where everything made goes: ``data`` under the root, unless NEXUS_DATA says."""
        return Path(os.environ.get("NEXUS_DATA") or self.root / "data").absolute()

    @property
    def home(self) -> Path:
        """Where Dagster, MLflow and logs keep their state: ``.nexus`` unless NEXUS_HOME says."""
        return Path(os.environ.get("NEXUS_HOME") or self.root / ".nexus").resolve()

    def stage_folder(self, stage: str, *parts: str) -> Path:
        """Where a stage writes: ``<data>/<stage>/<project>/...``."""
        return self.data.joinpath(stage, self.project_name, *parts)

    def raw_path(self, table: str) -> Path:
        """The file a table is read from."""
        dataset = self[table]
        if dataset.path:
            return raw_folder(self.root, dataset.path)
        folder = os.environ.get("NEXUS_RAW") or self.raw_folder or f"data/raw/{self.project_name}"
        return raw_folder(self.root, folder) / dataset.name

    def foreign_keys(self, table: str) -> tuple[ForeignKey, ...]:
        """Foreign keys with the referenced columns filled in from the referenced primary key."""
        return tuple(
            ForeignKey(
                columns=key.columns,
                references_table=key.references_table,
                references_columns=key.references_columns or self[key.references_table].primary_key,
            )
            for key in self[table].foreign_keys
        )


def raw_folder(root: Path, folder: str) -> Path:
    """A folder below ``root``, or of an installed package, which is not imported.

    Raises:
        ConfigurationError: the package is not installed.
    """
    if not folder.startswith("package:"):
        return root / folder
    name, _, below = folder.removeprefix("package:").partition("/")
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ConfigurationError(f"raw_folder: package {name!r} is not installed")
    return Path(found.submodule_search_locations[0]) / below


def ablation_of(project: ProjectConfig) -> AblationConfig:
    """What an ablation of the project tries; everything once if the file does not say."""
    return project.ablation or AblationConfig()


def ensemble_of(project: ProjectConfig) -> EnsembleConfig:
    """What the project's ensemble is made of; as usual if the file does not say."""
    return project.ensemble or EnsembleConfig()


def optimization_of(project: ProjectConfig) -> OptimizationConfig:
    """How the project's models are made smaller; as usual if the file does not say."""
    return project.optimization or OptimizationConfig()


def monitoring_of(project: ProjectConfig) -> MonitoringConfig:
    """How the project is monitored; as usual if the file does not say."""
    return project.monitoring or MonitoringConfig()


def pretraining_of(project: ProjectConfig) -> PretrainingConfig:
    """How the project pretrains; as usual if the file does not say."""
    return project.pretraining or PretrainingConfig()


def encoder_files(project: ProjectConfig) -> dict[str, str]:
    """SHA-256 of each of the project's own encoder files.

    Raises:
        ConfigurationError: a file is not there.
    """
    found = {}
    for name in project.encoder_modules:
        path = project.root / name
        if not path.is_file():
            raise ConfigurationError(f"encoder_modules: no file {path}")
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def project_file() -> Path:
    """The project file this process is about."""
    return Path(os.environ.get("NEXUS_PROJECT", DEFAULT_FILE))


def load_project(path: Path | str = DEFAULT_FILE) -> ProjectConfig:
    """Read a project file.

    Raises:
        ConfigurationError: the file is missing, is not YAML, or says something impossible; an
            unknown key is answered with the nearest known one.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such project file; `nexusflow init NAME` makes one")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: must be a mapping with project_name and datasets")
    try:
        return ProjectConfig(**content, root=path.resolve().parent)
    except ValidationError as error:
        told = "\n".join(f"  {_explain(problem)}" for problem in error.errors())
        raise ConfigurationError(f"{path}: {error.error_count()} problem(s)\n{told}") from error


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "project"
    if problem["type"] == "extra_forbidden":
        known = sorted(_known_keys(ProjectConfig))
        return f"{where}: unknown key{_nearest(str(problem['loc'][-1]), known)}"
    return f"{where}: {problem['msg']}"


def _known_keys(model: type[Record]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, Record):
                yield from _known_keys(part)


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
