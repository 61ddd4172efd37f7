"""What a member may be called and how its content may begin."""

import re

from nexus_model.artifact.limits import LARGEST_TENSOR_HEADER, LONGEST_NAME

_PART = r"[A-Za-z0-9_-]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?"
NAME = f"^{_PART}(/{_PART})*$"
TENSORS = ".safetensors"
HEAD_BYTES = 9

_PICKLE_SUFFIXES = (
    ".pkl", ".pickle", ".pt", ".pth", ".pt2", ".bin", ".ckpt", ".joblib", ".dill", ".npy", ".npz",
)  # fmt: skip
_PICKLE_PROTOCOLS = (2, 3, 4, 5)


def name_refusal(name: str) -> str | None:
    """Why a member may not have this name; None if it may.

    >>> name_refusal("weights.safetensors")
    >>> name_refusal("../up.json")
    'name is not a plain relative path of ASCII letters, digits, "_", "-", "." and "/"'
    """
    if len(name) > LONGEST_NAME:
        return f"name is longer than {LONGEST_NAME} bytes"
    if not re.fullmatch(NAME, name, re.ASCII):
        return 'name is not a plain relative path of ASCII letters, digits, "_", "-", "." and "/"'
    if name.lower().endswith(_PICKLE_SUFFIXES):
        return "pickle or unsafe binary formats are refused; store tensors as .safetensors"
    return None


def content_refusal(name: str, head: bytes, size_bytes: int) -> str | None:
    """Why a member may not have content that begins so; None if it may.

    ``head`` are the first ``HEAD_BYTES`` bytes, or all of them.
    """
    if name.endswith(TENSORS):
        # A header length may look like a pickle header, so it is judged as what it claims to be.
        header = int.from_bytes(head[:8], "little")
        fits = 2 <= header <= min(LARGEST_TENSOR_HEADER, size_bytes - 8)
        return None if fits and head[8:9] == b"{" else "header is not that of a safetensors file"
    if head[:1] == b"\x80" and head[1:2] and head[1] in _PICKLE_PROTOCOLS:
        return "content starts like a pickle"
    if head[:4] == b"PK\x03\x04":
        return "content is another zip, as torch.save writes"
    return None
