"""Sub-words: nothing of a text is lost, and a fit is what the plain algorithm would find.

R rows, L sub-words.
"""

import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nexus_model.tokenize import subwords as module
from nexus_model.tokenize.subwords import (
    FIRST_MERGE,
    SubwordReader,
    Subwords,
    encode_column,
    fit_subwords,
)

SAMPLE = [
    "The courier was late, again.", "the delivery is late", "Later: the couriers were not rude!",
    "caf\u00e9 \u2014 na\u00efve caf\u00e9", "order 48213, order 48214", "  two  gaps\tand\nlines ",
]  # fmt: skip
FITTED = fit_subwords(SAMPLE, 300)
ANY_TEXT = st.text(st.characters())
FEW_LETTERS = st.lists(st.text(alphabet="ab ", max_size=12), max_size=6)


def plain_fit(texts, vocabulary):
    """Algorithm 1 as it is written: count every pair anew for every merge."""
    counted = Counter(
        word for text in texts for word in module._words(text, module.DIGITS, lowercase=False)
    )
    words = {word: [1 + byte for byte in word.encode()] for word in counted}
    table, merges = [b"", *(bytes([value]) for value in range(256))], []
    while len(table) < vocabulary:
        pairs = Counter()
        for word, ids in words.items():
            for pair in pairwise(ids):
                pairs[pair] += counted[word]
        if not pairs or max(pairs.values()) < 2:
            break
        best = min(pairs, key=lambda p: (-pairs[p], table[p[0]], table[p[1]], p))
        words = {word: plain_merge(ids, best, len(table)) for word, ids in words.items()}
        table.append(table[best[0]] + table[best[1]])
        merges.append(best)
    return tuple(merges)


def plain_merge(ids, pair, new):
    """Replace pairs from the left, by recursion."""
    if len(ids) < 2:
        return ids
    if tuple(ids[:2]) == pair:
        return [new, *plain_merge(ids[2:], pair, new)]
    return [ids[0], *plain_merge(ids[1:], pair, new)]


def plain_encode(text, subwords):
    """Every merge in the order of the fit, over every word."""
    found = []
    for word in module._words(text, subwords.digits, lowercase=False):
        ids = [1 + byte for byte in word.encode()]
        for new, pair in enumerate(subwords.merges, start=FIRST_MERGE):
            ids = plain_merge(ids, pair, new)
        found += ids
    return found


def many_texts(count=20_000):
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlu"))
    words = ["".join(rng.choice(letters, size)) for size in rng.integers(2, 10, 4000)]
    chosen = rng.zipf(1.3, (count, 12)) % len(words)
    return [" ".join(words[at] for at in row) for row in chosen]


@given(ANY_TEXT)
def test_decoding_gives_back_any_text(text):
    for subwords in (Subwords(), FITTED):
        assert subwords.decode(subwords.encode(text)) == text


@pytest.mark.parametrize("digits", [1, 3])
@given(text=ANY_TEXT)
def test_words_are_the_text_cut_in_pieces(text, digits):
    assert "".join(module._words(text, digits, lowercase=False)) == text


def test_every_digit_is_a_word_of_its_own():
    fitted = fit_subwords(["order 48213 48213 48213"] * 9, 300)
    assert [fitted.decode([found]) for found in fitted.encode(" 48213")] == [" 4", *"8213"]


def test_files_from_before_keep_their_three_digits_together():
    before = Subwords.model_validate_json('{"merges": [[53, 57], [257, 51]]}')
    assert [before.decode([found]) for found in before.encode("48213")] == ["482", "1", "3"]


@given(FEW_LETTERS, st.integers(FIRST_MERGE, 275))
def test_a_fit_is_the_one_of_the_plain_algorithm(texts, vocabulary):
    assert fit_subwords(texts, vocabulary).merges == plain_fit(texts, vocabulary)


def test_a_fit_on_sentences_is_the_one_of_the_plain_algorithm():
    assert FITTED.merges == plain_fit(SAMPLE, 300)
    assert len(FITTED.merges) > 20


@given(FEW_LETTERS, st.text(alphabet="ab ", max_size=20))
def test_encoding_is_every_merge_in_turn(texts, text):
    fitted = fit_subwords(texts, 270)
    assert fitted.encode(text) == plain_encode(text, fitted)


@given(st.permutations(SAMPLE))
@settings(max_examples=20)
def test_the_order_of_texts_does_not_matter(texts):
    assert fit_subwords(texts, 300) == FITTED


def test_ties_go_to_the_lesser_bytes():
    assert fit_subwords(["xy ab", "xy ab"], 258).merges == ((33, 98),)  # " a" before "ab", "xy"


def test_frequent_words_become_one_id():
    fitted = fit_subwords(["late courier"] * 3, 400)
    assert len(fitted.encode(" courier")) == 1
    assert fitted.size < 400  # nothing occurs twice any more


def test_the_record_makes_the_round_trip_through_json():
    FITTED.encode("use it first")
    again = Subwords.model_validate_json(FITTED.model_dump_json())
    assert again == FITTED
    assert again.encode(SAMPLE[0]) == FITTED.encode(SAMPLE[0])


def test_case_is_kept_unless_asked_otherwise():
    folded = fit_subwords(SAMPLE, 300, lowercase=True)
    assert folded.encode("LATE") == folded.encode("late")
    assert FITTED.encode("LATE") != FITTED.encode("late")
    assert folded.decode(folded.encode("Late")) == "late"


def test_a_column_is_its_texts_cut_and_padded():
    column = pa.chunked_array([["The courier", None], ["", "late " * 30, "\u00e9"]], pa.string())
    ids_RL = encode_column(column, FITTED, 7)
    assert (ids_RL.dtype, ids_RL.shape) == (np.int32, (5, 7))
    for text, row in zip(column.to_pylist(), ids_RL.tolist(), strict=True):
        ids = FITTED.encode(text or "")[:7]
        assert row == ids + [0] * (7 - len(ids))


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_every_arrow_form_of_a_text_is_read_alike(kind):
    column = pa.array(SAMPLE, pa.string())
    np.testing.assert_array_equal(
        encode_column(column.cast(kind), FITTED, 9), encode_column(column, FITTED, 9)
    )


@pytest.mark.parametrize("column", [pa.array([], pa.string()), pa.array([None], pa.null())])
def test_no_rows_and_no_texts_are_zeros(column):
    ids_RL = encode_column(column, FITTED, 4)
    assert ids_RL.shape == (len(column), 4)
    assert not ids_RL.any()


def test_a_cut_character_is_replaced_and_an_unknown_id_refused():
    assert Subwords().decode(Subwords().encode("\u00e9")[:1]) == "\ufffd"
    assert Subwords().decode([0, 98, 0]) == "a"
    for wrong in (257, -1):
        with pytest.raises(ValueError, match="ids must be"):
            Subwords().decode([wrong])


@pytest.mark.parametrize("merges", [((257, 1),), ((0, 1),)])
def test_a_merge_of_ids_that_are_not_there_yet_is_refused(merges):
    with pytest.raises(ValidationError, match="must be of ids"):
        Subwords(merges=merges)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 257"):
        fit_subwords(SAMPLE, 256)
    with pytest.raises(ValueError, match="at least 1"):
        encode_column(pa.array(["a"]), FITTED, 0)
    assert fit_subwords([], 300) == Subwords(digits=module.DIGITS)


def test_a_long_text_without_spaces_costs_no_more_than_its_length():
    def seconds(text):
        reader, start = SubwordReader(FITTED), time.process_time()
        reader.ids(text)
        return time.process_time() - start

    letters = np.random.default_rng(0).choice(list("courielat"), 80_000)
    short, long = "".join(letters[:10_000]), "".join(letters)
    assert min(seconds(long) for _ in range(3)) < 24 * max(seconds(short) for _ in range(3))


def test_twenty_thousand_texts_are_fitted_and_encoded_in_seconds():
    texts = many_texts()
    start = time.process_time()
    fitted = fit_subwords(texts, 1000)
    middle = time.process_time()
    encode_column(pa.array(texts), fitted, 24)
    assert fitted.size == 1000
    assert middle - start < 10
    assert time.process_time() - middle < 3
