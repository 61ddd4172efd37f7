"""Signed and encrypted files through every function that opens a model."""

import pytest
from tiny_artifact import artifact

from nexus_model.api.load_model import load_model as load_fitted
from nexus_model.artifact.encryption import EnvelopeKey, encrypt_file
from nexus_model.artifact.signature import SigningKey
from nexus_model.artifact.signing import sign_archive
from nexus_model.schema import ArtifactError
from nexus_model.serve.predictor import load_model as load_predictor

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.parametrize("load", [load_fitted, load_predictor]),
]
KEY = EnvelopeKey(bytes(range(32)))


@pytest.fixture(scope="module")
def signer():
    return SigningKey.generate()


@pytest.fixture(scope="module")
def files(tmp_path_factory, signer):
    """One model: plain, signed, and encrypted after it was signed."""
    folder = tmp_path_factory.mktemp("locked")
    for name in ("plain", "signed"):
        artifact().save(folder / f"{name}.nxf")
    sign_archive(folder / "signed.nxf", signer)
    encrypt_file(folder / "signed.nxf", folder / "encrypted.nxf", KEY)
    return folder


def test_a_signed_file_opens_where_its_key_is_required(load, files, signer):
    assert load(files / "signed.nxf", require_signature=signer.public).artifact is not None


def test_an_unsigned_file_and_one_of_another_signer_are_refused(load, files, signer):
    with pytest.raises(ArtifactError, match="sign"):
        load(files / "plain.nxf", require_signature=signer.public)
    with pytest.raises(ArtifactError, match="sign"):
        load(files / "signed.nxf", require_signature=SigningKey.generate().public)


def test_an_encrypted_file_opens_with_its_key_alone(load, files, signer):
    found = load(files / "encrypted.nxf", key=KEY, require_signature=signer.public)
    assert found.artifact is not None
    for wrong in (None, EnvelopeKey(bytes(32))):
        with pytest.raises(ArtifactError):
            load(files / "encrypted.nxf", key=wrong)
