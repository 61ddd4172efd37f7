"""Open a stored model."""

from pathlib import Path

from nexus_model.api.former import NexusFormer
from nexus_model.artifact.encryption import EnvelopeKey
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.artifact.signature import PublicKey
from nexus_model.sentences.find_reader import TextModel, find_reader


def load_model(
    path: Path | str,
    *,
    require_signature: PublicKey | None = None,
    key: EnvelopeKey | None = None,
    text_model: TextModel | None = None,
) -> NexusFormer:
    """The fitted model of a ``.nxf`` file; INT8 weights are widened, nothing is executed.

    ``require_signature`` is the key the file must be signed with, ``key`` opens an encrypted one.
    ``text_model`` is the folder of the sentence model its texts were fitted with, if they were; the
    environment's ``NEXUSFLOW_TEXT_MODEL`` if unset.

    Raises:
        ArtifactError: the file is missing, damaged, foreign, too new, not signed as required, or
            encrypted and the key is missing or another.
        ConfigurationError: the sentence model is missing, or another.
    """
    found = NexusFlowModelArtifact.load(path, require_signature=require_signature, key=key)
    return NexusFormer.of(found, find_reader(found.tokenizer, text_model))
