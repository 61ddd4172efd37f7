"""Signing a ``.nxf`` file in place: the members stay byte for byte, one is added at the end."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nexus_model.artifact.archive import Archive, read_archive
from nexus_model.artifact.manifest import SIGNATURE
from nexus_model.artifact.signature import Signature, SigningKey
from nexus_model.artifact.stored_file import replacing
from nexus_model.artifact.zip_layout import Entry, local_header, write_directory


def sign_archive(path: Path, key: SigningKey) -> Signature:
    """Check the whole file, sign its manifest, and put the signed file in its place.

    A signature that was there is replaced. The signed file is read back before it takes the place.

    Raises:
        ArtifactError: the file would be refused; an encrypted one is, so sign before encrypting.
    """
    archive = read_archive(Path(path))
    signature = key.sign(archive.manifest_bytes)
    with replacing(archive.path) as file:
        entries = list(_copy(archive, file))
        content = signature.to_json()
        entry = Entry.stored(SIGNATURE, content, file.tell())
        file.write(local_header(entry) + content)
        write_directory([*entries, entry], file.write)
        file.flush()
        read_archive(Path(file.name), require_signature=key.public)
    return signature


def _copy(archive: Archive, file: BinaryIO) -> Iterator[Entry]:
    for entry, pieces in archive.packed():
        if entry.name == SIGNATURE:
            continue
        moved = entry._replace(header=file.tell())
        file.write(local_header(moved))
        file.writelines(pieces)
        yield moved
