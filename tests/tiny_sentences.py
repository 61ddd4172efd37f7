"""A sentence model of a few words, made on the spot: a tokenizer and a graph as people export them.

The graph adds to every token's vector that of the whole text, so a token depends on its neighbours
and padding that is not masked would show.
"""

import json
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny import _WORDS, tiny_database
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from nexus_model.sentences.model_folder import open_folder
from nexus_model.sentences.onnx_sentences import OnnxSentences

WORDS = ("[UNK]", "[PAD]", *_WORDS, "not", "very", "good", "bad")
WIDTH = 8
IDS, MASK = "input_ids", "attention_mask"


class Texts(NamedTuple):
    """What the folder's graph and files are to be like."""

    width: int = WIDTH
    seed: int = 0
    inputs: tuple[str, ...] = (IDS, MASK)
    shape: str = "tokens"
    files: tuple[tuple[str, object], ...] = ()
    graph: str = "model.onnx"


def table(width=WIDTH, seed=0):
    """Vectors of the words."""
    drawn = np.random.default_rng(seed).normal(size=(len(WORDS), width))
    return drawn.astype(np.float32)


def sentence_folder(root, like=None, **said):
    """A folder with a model; ``said`` are fields of ``Texts``."""
    like = (like or Texts())._replace(**said)
    (root / like.graph).parent.mkdir(parents=True, exist_ok=True)
    words = models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]")
    tokenizer = Tokenizer(words)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # As exports have it: everything as long as the longest, and cut.
    tokenizer.enable_padding(length=12, pad_id=1, pad_token="[PAD]")
    tokenizer.enable_truncation(10)
    tokenizer.save(str(root / "tokenizer.json"))
    onnx.save(graph_of(like), str(root / like.graph))
    for name, content in like.files:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(json.dumps(content), encoding="utf-8")
    return root


def graph_of(like):
    """``words + tanh(mean of words that the mask keeps)``; other shapes are made of that."""
    steps = [
        helper.make_node("Gather", ["table", IDS], ["words"]),
        helper.make_node("Cast", [MASK], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["kept3"]),
        helper.make_node("Mul", ["words", "kept3"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "middle"], ["total"]),
        helper.make_node("ReduceSum", ["kept3", "middle"], ["count"]),
        helper.make_node("Div", ["total", "count"], ["mean"]),
        helper.make_node("Tanh", ["mean"], ["about"]),
        helper.make_node("Add", ["words", "about"], ["tokens"]),
        helper.make_node("Squeeze", ["about", "middle"], ["sentence"]),
        helper.make_node("ReduceSum", ["words"], ["number"], keepdims=0),
        helper.make_node("DynamicQuantizeLinear", ["tokens"], ["whole", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["whole", "scale", "zero"], ["rough"]),
    ]
    named = {"tokens": "tokens", "sentence": "sentence", "number": "number", "rough": "rough"}
    kept = [
        numpy_helper.from_array(table(like.width, like.seed), "table"),
        numpy_helper.from_array(np.array([2]), "last"),
        numpy_helper.from_array(np.array([1]), "middle"),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "l"]) for name in like.inputs
    ]
    output = helper.make_tensor_value_info(named[like.shape], TensorProto.FLOAT, None)
    made = helper.make_graph(steps, "sentences", inputs, [output], kept)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(made, opset_imports=opset, ir_version=8)


class CountingReader:
    """A reader that notes what it was asked."""

    def __init__(self, reader):
        self.reader, self.asked = reader, []
        self.model_sha256, self.width, self.place = reader.model_sha256, reader.width, reader.place

    def vectors(self, texts):
        self.asked += texts
        return self.reader.vectors(texts)


def opened(root, **said):
    """The reader of a folder made so."""
    return OnnxSentences(open_folder(sentence_folder(root, **said)))


def sentence_database(reader, recipe=None):
    """The tiny database whose texts the reader reads."""
    return tiny_database(recipe=recipe, readers={"tickets": reader})
