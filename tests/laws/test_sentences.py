"""Vectors of sentences: each from its own text alone, asked for once, refused where they differ."""

import sys

import numpy as np
import pyarrow as pa
import pytest
from tiny_sentences import IDS, MASK, WIDTH, WORDS, CountingReader, opened, sentence_folder, table

from nexus_model.schema import ConfigurationError
from nexus_model.sentences.kept_sentences import ALIKE, KEYS, KeptSentences
from nexus_model.sentences.model_folder import open_folder
from nexus_model.sentences.onnx_sentences import OnnxSentences
from nexus_model.tokenize.sentences import encode_sentences, fit_sentences

TEXTS = ["late again", "not good", "very very late order", "thanks", "good not", "Late again"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return opened(tmp_path_factory.mktemp("model"))


def tokens_of(text, rows=None):
    """The vectors the tiny graph gives a text's tokens."""
    rows = table() if rows is None else rows
    words = rows[[WORDS.index(word) for word in text.lower().split()]]
    return words + np.tanh(words.mean(axis=0))


def test_a_vector_is_the_mean_of_its_tokens(reader):
    expected = np.stack([tokens_of(text).mean(axis=0) for text in TEXTS])
    np.testing.assert_allclose(reader.vectors(TEXTS), expected, atol=1e-6)
    assert reader.width == WIDTH


def test_a_text_alone_has_the_vector_it_has_in_company(reader):
    together = reader.vectors(TEXTS)
    alone = np.concatenate([reader.vectors([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert reader.vectors(TEXTS[::-1])[::-1].tolist() == together.tolist()


def test_a_graph_that_scales_by_its_whole_batch_is_given_one_text_at_a_time(tmp_path):
    rough = opened(tmp_path, shape="rough")
    alone = np.concatenate([rough.vectors([text]) for text in TEXTS])
    assert rough.vectors(TEXTS).tolist() == alone.tolist()


def test_pooling_and_norm_are_those_the_folder_names(tmp_path):
    files = (
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": 0}),
        (
            "modules.json",
            [{"type": "a.Transformer"}, {"type": "a.Pooling"}, {"type": "b.Normalize"}],
        ),
    )
    found = opened(tmp_path, files=files).vectors(["not very good"])[0]
    first = tokens_of("not very good")[0]
    np.testing.assert_allclose(found, first / np.linalg.norm(first), atol=1e-6)


def test_an_output_that_is_a_vector_already_is_taken_as_it_is(tmp_path):
    modules = (("modules.json", [{"type": "a.Transformer"}, {"type": "a.Dense"}]),)
    made = opened(tmp_path, shape="sentence", graph="onnx/model.onnx", files=modules)
    expected = np.tanh(table()[[WORDS.index("late"), WORDS.index("again")]].mean(axis=0))
    np.testing.assert_allclose(made.vectors(["late again"])[0], expected, atol=1e-6)


@pytest.mark.parametrize("files", [(), (("sentence_bert_config.json", {"max_seq_length": 3}),)])
def test_a_long_text_is_cut_where_the_folder_says(tmp_path, files):
    length = 3 if files else 10
    found = opened(tmp_path, files=files).vectors([" ".join(["late"] * 9 + ["good"] * 9)])[0]
    kept = " ".join((["late"] * 9 + ["good"] * 9)[:length])
    np.testing.assert_allclose(found, tokens_of(kept).mean(axis=0), atol=1e-6)


def test_the_digest_is_of_what_is_read_and_of_nothing_else(tmp_path):
    here = open_folder(sentence_folder(tmp_path / "here")).sha256
    moved = sentence_folder(tmp_path / "there", graph="onnx/model.onnx")
    (moved / "README.md").write_text("a page")
    (moved / "onnx" / "model_quantized.onnx").write_bytes(b"another form")
    assert open_folder(moved).sha256 == here
    (moved / "modules.json").write_text("[]")
    assert open_folder(moved).sha256 != here
    assert open_folder(sentence_folder(tmp_path / "else", seed=1)).sha256 != here


def test_weights_beside_the_graph_belong_to_the_digest(tmp_path):
    import onnx

    folder = sentence_folder(tmp_path, width=400)
    graph, saved = onnx.load(folder / "model.onnx"), {"save_as_external_data": True}
    onnx.save(graph, folder / "model.onnx", location="weights.bin", **saved)
    before, vector = (
        open_folder(folder).sha256,
        OnnxSentences(open_folder(folder)).vectors(["late"]),
    )
    content = bytearray((folder / "weights.bin").read_bytes())
    content[WORDS.index("late") * 1600] ^= 1
    (folder / "weights.bin").write_bytes(content)
    assert open_folder(folder).sha256 != before
    assert OnnxSentences(open_folder(folder)).vectors(["late"]).tolist() != vector.tolist()


def broken(folder, name, content):
    """The folder with one file's content another, or gone."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("tokenizer.json", None, r"has no tokenizer\.json$"),
        ("model.onnx", None, r"has no model\.onnx or onnx/model\.onnx$"),
        ("tokenizer.json", "{}", r"tokenizer\.json is no tokenizer"),
        ("model.onnx", "no graph", r"model\.onnx cannot be run"),
        ("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}', r"pooling must be one of"),
        ("1_Pooling/config.json", "[", r"1_Pooling/config\.json: cannot be read"),
        ("modules.json", '{"a": 1}', r"modules\.json: must be a JSON list"),
        ("modules.json", "[1]", r"modules\.json: every module must have a type"),
        ("modules.json", '[{"type": "m.Dense"}]', r"has modules \['Dense'\] after its graph"),
        ("sentence_bert_config.json", '{"max_seq_length": 0}', r"max_seq_length must be over 0"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_model_is_refused_by_name(tmp_path, name, content, told):
    folder = broken(sentence_folder(tmp_path), name, content)
    with pytest.raises(ConfigurationError, match=told) as refused:
        OnnxSentences(open_folder(folder))
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"inputs": (IDS, MASK, "pixels")}, r"it asks for \{.*'pixels'"),
        (
            {"shape": "number"},
            r"must be \[batch, tokens, width\] or \[batch, width\]; .* it is \[\]",
        ),
    ],
)
def test_a_graph_of_something_else_is_refused(tmp_path, said, told):
    with pytest.raises(ConfigurationError, match=told):
        opened(tmp_path, **said)


def test_no_folder_and_no_library_are_refused_by_name(tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match=f"no folder {tmp_path / 'gone'}"):
        open_folder(tmp_path / "gone")
    folder = open_folder(sentence_folder(tmp_path))
    for library in ("onnxruntime", "tokenizers"):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(
            ConfigurationError, match=rf"{library}, .*pip install 'nexusflow\[text\]'"
        ):
            OnnxSentences(folder)


def test_token_types_are_given_where_they_are_asked_for(tmp_path, reader):
    typed = opened(tmp_path, inputs=(IDS, MASK, "token_type_ids"))
    assert typed.vectors(TEXTS).tolist() == reader.vectors(TEXTS).tolist()


def test_a_vector_that_is_not_finite_is_refused_with_its_text(tmp_path, monkeypatch):
    import tiny_sentences

    spoiled = table()
    spoiled[WORDS.index("bad")] = np.inf
    monkeypatch.setattr(tiny_sentences, "table", lambda *_: spoiled)
    with pytest.raises(
        ConfigurationError, match=r"not finite \(1 texts\); for example of 'very bad'"
    ):
        opened(tmp_path).vectors(["good", "very bad"])


def column_of(reader, texts):
    """A column of texts as vectors."""
    return encode_sentences(
        pa.chunked_array([texts], pa.string()), fit_sentences("t", reader), reader
    )


def test_missing_and_blank_texts_are_zeros_and_the_rest_is_asked_once(reader):
    counting = CountingReader(reader)
    found = column_of(counting, ["late", None, " \t", "", "good", "late"])
    assert sorted(counting.asked) == ["good", "late"]
    assert (found == 0).all(axis=1).tolist() == [False, True, True, True, False, False]
    assert found[5].tolist() == found[0].tolist() == reader.vectors(["late"])[0].tolist()


@pytest.mark.parametrize("texts", [[], [None, None]])
def test_a_column_without_texts_asks_nothing(reader, texts):
    counting = CountingReader(reader)
    assert column_of(counting, texts).shape == (len(texts), WIDTH)
    assert counting.asked == []


def test_what_is_kept_is_not_computed_again(reader, tmp_path):
    first, second = CountingReader(reader), CountingReader(reader)
    made = KeptSentences(first, tmp_path).vectors(TEXTS[:3])
    found = KeptSentences(second, tmp_path).vectors([*TEXTS[:3], "thanks", "thanks"])
    assert first.asked == TEXTS[:3]
    assert second.asked == ["thanks"]
    np.testing.assert_array_equal(found[:3], made)
    np.testing.assert_array_equal(found[3:], reader.vectors(["thanks", "thanks"]))


def test_another_model_keeps_its_own_vectors(reader, tmp_path):
    other = CountingReader(opened(tmp_path / "other", seed=1))
    KeptSentences(reader, tmp_path / "kept").vectors(TEXTS)
    KeptSentences(other, tmp_path / "kept").vectors(TEXTS)
    assert len(other.asked) == len(TEXTS)


def test_many_small_calls_leave_few_files_and_every_vector(reader, tmp_path):
    counting = CountingReader(reader)
    kept, texts = KeptSentences(counting, tmp_path), [f"{w} {v}" for w in WORDS for v in WORDS]
    for text in texts:
        kept.vectors([text])
    assert len(list(kept.folder.glob(f"*{KEYS}"))) < 3 * ALIKE
    fresh = KeptSentences(counting, tmp_path).vectors(texts)
    assert counting.asked == texts
    np.testing.assert_allclose(fresh, reader.vectors(texts), atol=1e-6)


def test_two_who_write_at_once_read_each_others_vectors(reader, tmp_path):
    one, other = CountingReader(reader), CountingReader(reader)
    first, second = KeptSentences(one, tmp_path), KeptSentences(other, tmp_path)
    for at, word in enumerate(WORDS):
        (first, second)[at % 2].vectors([word])
    assert first.vectors(list(WORDS)).tolist() == second.vectors(list(WORDS)).tolist()
    assert sorted(one.asked + other.asked) == sorted(WORDS)
    assert [path.name for path in first.folder.iterdir() if path.name[0] == "."] == []


def test_a_damaged_file_is_refused_and_a_folder_that_cannot_be_written_is_told(reader, tmp_path):
    kept = KeptSentences(reader, tmp_path / "kept")
    kept.vectors(["late"])
    for path in kept.folder.glob("*.vectors.npy"):
        path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ConfigurationError, match=r"vectors\.npy is damaged: delete it"):
        KeptSentences(reader, tmp_path / "kept").vectors(["late"])
    (tmp_path / "file").write_text("in the way")
    blocked = KeptSentences(CountingReader(reader), tmp_path / "file")
    with pytest.warns(UserWarning, match="not kept on disk"):
        found = blocked.vectors(["late"])
    assert found.tolist() == blocked.vectors(["late"]).tolist() == reader.vectors(["late"]).tolist()
