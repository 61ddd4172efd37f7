"""Commands about ``.nxf`` files as files: keys, signature, envelope, schemas.

Keys come from a file or an environment variable; there is no option that takes the key itself.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from nexus_pipeline.answer import Answer

Artifact = Annotated[Path, typer.Argument(help="a .nxf file")]
Target = Annotated[Path, typer.Option("--to", help="file to write")]
KEY_FILES = {"private": "signing-private.pem", "public": "signing-public.pem"}
ENVELOPE_FILE = "envelope.key"


def keys(
    to: Annotated[Path, typer.Option("--to", help="folder of the new keys")],
) -> Answer:
    """Make a signing key, its public key and an envelope key; nothing that is there is replaced.

    Example: nexusflow artifact keys --to keys
    """
    from nexus_model.artifact.encryption import EnvelopeKey
    from nexus_model.artifact.signature import SigningKey

    signing = SigningKey.generate()
    private, public = signing.to_pem()
    to.mkdir(parents=True, exist_ok=True)
    _write_new(to / KEY_FILES["private"], private, mode=0o600)
    _write_new(to / KEY_FILES["public"], public, mode=0o644)
    _write_new(to / ENVELOPE_FILE, EnvelopeKey.generate().to_hex(), mode=0o600)
    made = [*KEY_FILES.values(), ENVELOPE_FILE]
    key_id = signing.public.key_id
    return Answer(
        {"folder": str(to), "files": made, "key_id": key_id},
        (f"made {', '.join(made)} in {to}", f"key id {key_id}"),
    )


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    import os

    from nexus_model.schema import ConfigurationError

    try:
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
    except OSError as error:
        raise ConfigurationError(f"{path}: not written: {error.strerror}") from error


def sign(
    file: Artifact,
    key: Annotated[
        Path | None, typer.Option(help="PEM file of the private key; else NEXUS_SIGNING_KEY")
    ] = None,
) -> Answer:
    """Check a .nxf file and sign its manifest with an Ed25519 key, in place.

    Example: nexusflow artifact sign model.nxf --key keys/signing-private.pem
    """
    from nexus_model.artifact.signature import SigningKey
    from nexus_model.artifact.signing import sign_archive

    signature = sign_archive(file, SigningKey.read(key))
    return Answer(
        {"file": str(file), "key_id": signature.key_id},
        (f"{file}: signed with key {signature.key_id}",),
    )


def verify(
    file: Artifact,
    public_key: Annotated[
        Path | None, typer.Option(help="PEM file it must be signed with; else NEXUS_PUBLIC_KEY")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="key file of an encrypted file; else NEXUS_ENVELOPE_KEY")
    ] = None,
) -> Answer:
    """Compare every member with its hash, and the signature where a public key is given.

    Example: nexusflow artifact verify model.nxf --public-key keys/signing-public.pem
    """
    import os

    from nexus_model.artifact.archive import read_archive
    from nexus_model.artifact.encryption import ENVELOPE_VARIABLE, EnvelopeKey
    from nexus_model.artifact.signature import PUBLIC_VARIABLE, PublicKey

    signer = PublicKey.read(public_key) if public_key or PUBLIC_VARIABLE in os.environ else None
    opener = EnvelopeKey.read(key) if key or ENVELOPE_VARIABLE in os.environ else None
    archive = read_archive(file, require_signature=signer, key=opener)
    signed = "not signed" if archive.signature is None else f"names key {archive.signature.key_id}"
    told = f"signed with key {signer.key_id}" if signer else f"{signed}; no signature was checked"
    facts = {
        "file": str(file),
        "members": len(archive.names),
        "signature": told,
        "content_hash": archive.content_hash,
    }
    return Answer(
        facts,
        (
            f"{file}: {len(archive.names)} members are as written, {told}",
            f"content hash {archive.content_hash}",
        ),
    )


def encrypt(
    file: Artifact,
    to: Target,
    key: Annotated[Path | None, typer.Option(help="key file; else NEXUS_ENVELOPE_KEY")] = None,
) -> Answer:
    """Check a .nxf file and write it encrypted with AES-256-GCM.

    Example: nexusflow artifact encrypt model.nxf --to model.nxf.enc --key keys/envelope.key
    """
    from nexus_model.artifact.archive import read_archive
    from nexus_model.artifact.encryption import EnvelopeKey, encrypt_file

    opener = EnvelopeKey.read(key)
    read_archive(file)
    encrypt_file(file, to, opener)
    return Answer({"file": str(to), "from": str(file)}, (f"{to}: {file} encrypted",))


def decrypt(
    file: Artifact,
    to: Target,
    key: Annotated[Path | None, typer.Option(help="key file; else NEXUS_ENVELOPE_KEY")] = None,
) -> Answer:
    """Write the .nxf file an encrypted one holds, or nothing if anything is wrong with it.

    Example: nexusflow artifact decrypt model.nxf.enc --to model.nxf --key keys/envelope.key
    """
    from nexus_model.artifact.encryption import EnvelopeKey, decrypt_file

    decrypt_file(file, to, EnvelopeKey.read(key))
    return Answer({"file": str(to), "from": str(file)}, (f"{to}: {file} decrypted",))


def schema(
    of: Annotated[str, typer.Argument(help="manifest, signature, recipe, tokenizer or config")],
) -> Answer:
    """Print the JSON Schema of one of a .nxf file's JSON members.

    Example: nexusflow artifact schema manifest
    """
    import json

    described = _schema_of(of)
    return Answer(described, (json.dumps(described, indent=2),))


def _schema_of(member: str) -> dict[str, Any]:
    from nexus_model.align.recipe import Recipe
    from nexus_model.artifact.manifest import manifest_schema
    from nexus_model.artifact.signature import Signature
    from nexus_model.config import NexusConfig
    from nexus_model.schema import ConfigurationError
    from nexus_model.tokenize.statistics import Tokenizer

    match member.removesuffix(".json"):
        case "manifest":
            return manifest_schema()
        case "signature":
            return Signature.model_json_schema()
        case "recipe":
            return Recipe.model_json_schema()
        case "tokenizer":
            return Tokenizer.model_json_schema()
        case "config":
            return NexusConfig.model_json_schema()
        case _:
            raise ConfigurationError(
                f"schema is of manifest, signature, recipe, tokenizer or config, got {member!r}"
            )


COMMANDS = (keys, sign, verify, encrypt, decrypt, schema)
