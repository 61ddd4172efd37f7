"""Load: every table of a scan in a temporary store, read as the project will read it."""

from pathlib import Path

from nexus_model.schema import ConfigurationError, DataError, Record
from nexus_pipeline.propose.convert import convert, read_as_it_is
from nexus_pipeline.propose.profile import TableProfile, profile_table
from nexus_pipeline.propose.scan import LeftOut, Scan
from nexus_pipeline.propose.source import Form, Source
from nexus_pipeline.storage import Store

MEMORY = "2GB"


class Loaded(Record):
    """Tables with their profiles; ``converted`` are those whose file is now in the project."""

    sources: dict[str, Source]
    profiles: tuple[TableProfile, ...]
    converted: frozenset[str] = frozenset()
    left_out: tuple[LeftOut, ...] = ()


def open_store(folder: Path) -> Store:
    """The temporary store of a proposal."""
    return Store(folder / "profile.duckdb", memory_limit=MEMORY)


def load_tables(scan: Scan, store: Store, raw: Path) -> Loaded:
    """Read and profile every table; what the raw stage cannot read is converted into ``raw``.

    Raises:
        ConfigurationError: no table could be read.
    """
    sources: dict[str, Source] = {}
    files: dict[str, Path] = {}
    left_out = list(scan.left_out)
    for source in scan.sources:
        try:
            sources[source.table], files[source.table] = _read(source, store, raw)
        except DataError as error:
            left_out.append(LeftOut(file=source.file.name, reason=str(error)))
    if not sources:
        told = "; ".join(f"{item.file}: {item.reason}" for item in left_out[:5])
        raise ConfigurationError(f"--from {scan.folder}: no table could be read; {told}")
    with store.write() as con:
        profiles = tuple(profile_table(con, name, file) for name, file in files.items())
    converted = frozenset(name for name, file in files.items() if file.parent == raw)
    return Loaded(sources=sources, profiles=profiles, converted=converted, left_out=tuple(left_out))


def _read(source: Source, store: Store, raw: Path) -> tuple[Source, Path]:
    if source.form is Form.AS_IS:
        try:
            read_as_it_is(source.table, source.file, store)
        except DataError as error:
            if source.file.suffix.lower() == ".parquet":
                raise
            source = source.noted(f"the raw stage says: {error}")
        else:
            return source, source.file
    file, told = convert(source, raw, store)
    for note in told:
        source = source.noted(note)
    read_as_it_is(source.table, file, store)
    return source, file
