"""Sub-words of a text column: byte-level byte-pair encoding fitted on the user's own texts.

R rows, L sub-words.
Sennrich, Haddow and Birch 2016, algorithm 1, over bytes as in Radford et al. 2019, section 2.2.
DIFFERS: ties between pairs go to the lesser bytes, so that a fit depends on the counts alone; a
pair seen once is not merged; words end after 64 characters, so that a text without spaces stays
cheap; every digit is a word, so that numbers share their sub-words and those of letters are not
crowded out by pieces of order numbers, which tell texts apart and say nothing.
"""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise
from typing import Literal, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from nexus_model.schema import Record

Pair: TypeAlias = tuple[int, int]

PADDING, FIRST_BYTE = 0, 1
FIRST_MERGE = FIRST_BYTE + 256
DIGITS = 1
# A word keeps the one space before it. Every character of any text is in exactly one match.
_WORD = {
    digits: re.compile(
        rf" ?[^\W\d]{{1,64}}| ?\d{{1,{digits}}}| ?[^\w\s]{{1,64}}|\s{{1,64}}(?!\S)|\s"
    )
    for digits in (1, 3)
}


class Subwords(Record):
    """What was fitted: id 0 pads, 1 to 256 are bytes, and each merge of two ids is the next id."""

    merges: tuple[Pair, ...] = ()
    lowercase: bool = Field(default=False, description="letters lose their case before anything")
    digits: Literal[1, 3] = Field(3, description="of a word; 3 in files that do not say it")

    @model_validator(mode="after")
    def _merges_name_earlier_ids(self) -> Self:
        for new, pair in enumerate(self.merges, start=FIRST_MERGE):
            if not all(FIRST_BYTE <= part < new for part in pair):
                raise ValueError(f"merge {new} must be of ids from 1 to {new - 1}, got {pair}")
        return self

    @property
    def size(self) -> int:
        """Number of ids, padding included."""
        return FIRST_MERGE + len(self.merges)

    def encode(self, text: str) -> list[int]:
        """Ids of one text, without padding; for many texts a ``SubwordReader`` is faster.

        >>> fit_subwords(["low low lower"], 260).encode("low")
        [258]
        """
        return SubwordReader(self).ids(text)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids; padding is passed over, a character cut in two is replaced.

        >>> Subwords().decode(Subwords().encode("caf\\u00e9")) == "caf\\u00e9"
        True

        Raises:
            ValueError: an id is beyond ``size``.
        """
        table = self._bytes()
        chosen = list(ids)
        if not all(PADDING <= chosen_id < self.size for chosen_id in chosen):
            raise ValueError(f"ids must be from 0 to {self.size - 1}")
        found = b"".join(table[chosen_id] for chosen_id in chosen)
        try:
            return found.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return found.decode("utf-8", "replace")

    def _bytes(self) -> list[bytes]:
        table = _bytes_of_bytes()
        for left, right in self.merges:
            table.append(table[left] + table[right])
        return table


class SubwordReader:
    """Encodes many texts: merges are looked up, and a word seen before is not split again."""

    def __init__(self, subwords: Subwords) -> None:
        self.lowercase, self.digits = subwords.lowercase, subwords.digits
        self._merged = {pair: at for at, pair in enumerate(subwords.merges, start=FIRST_MERGE)}
        self._known: dict[str, list[int]] = {}

    def ids(self, text: str, length: int | None = None) -> list[int]:
        """Ids of a text, the first ``length`` if given."""
        # A word has at least one id: no more than ``length`` words are looked at.
        words = islice(_words(text, self.digits, lowercase=self.lowercase), length)
        return list(islice(chain.from_iterable(map(self._ids_of_word, words)), length))

    def _ids_of_word(self, word: str) -> list[int]:
        found = self._known.get(word)
        if found is None:
            found = self._known[word] = _merge_all(_byte_ids(word), self._merged)
        return found


def encode_column(
    column: pa.Array | pa.ChunkedArray, subwords: Subwords, length: int
) -> np.ndarray:
    """int32 [R, L]: the first ``length`` ids of each text, then 0; a missing text is all 0.

    >>> encode_column(pa.array(["ab", None]), Subwords(), 3).tolist()
    [[98, 99, 0], [0, 0, 0]]

    Raises:
        ValueError: ``length`` is less than 1.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    reader = SubwordReader(subwords)
    texts = pc.fill_null(pc.cast(column, pa.string()), "").to_pylist()
    found = [reader.ids(text, length) for text in texts]
    counts_R = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
    ids_RL = np.zeros((len(found), length), dtype=np.int32)
    keep_RL = np.arange(length) < counts_R[:, None]
    ids_RL[keep_RL] = np.fromiter(chain.from_iterable(found), dtype=np.int32)
    return ids_RL


def fit_subwords(texts: Iterable[str], vocabulary: int, *, lowercase: bool = False) -> Subwords:
    """Merge the most frequent pair of neighbours until there are ``vocabulary`` ids.

    Fewer ids are made if no pair is left that occurs twice.

    >>> fit_subwords(["aaaa"], 259).merges
    ((98, 98),)

    Raises:
        ValueError: ``vocabulary`` is too small for padding and the 256 bytes.
    """
    if vocabulary < FIRST_MERGE:
        raise ValueError(f"vocabulary must be at least {FIRST_MERGE}, got {vocabulary}")
    counted = Counter(
        chain.from_iterable(_words(text, DIGITS, lowercase=lowercase) for text in texts)
    )
    corpus = _Corpus(counted)
    merges = tuple(islice(corpus.merges(), vocabulary - FIRST_MERGE))
    return Subwords(merges=merges, lowercase=lowercase, digits=DIGITS)


class _Corpus:
    """Every different word once, split into ids; pairs are counted as merges change them."""

    def __init__(self, counted: Counter[str]) -> None:
        self.words = [_byte_ids(word) for word in counted]
        self.weights = list(counted.values())
        self.bytes = _bytes_of_bytes()
        self.counts: Counter[Pair] = Counter()
        self.places: defaultdict[Pair, set[int]] = defaultdict(set)
        for place, word in enumerate(self.words):
            self._count(place, word, self.weights[place])
        self.heap = [self._entry(pair) for pair in self.counts]
        heapq.heapify(self.heap)

    def merges(self) -> Iterator[Pair]:
        """The pairs to merge, one after another."""
        while self.heap:
            negative, _, _, pair = heapq.heappop(self.heap)
            # An entry is stale once its pair was counted anew: a later entry stands for it.
            if -negative == self.counts[pair] and -negative > 1:
                yield pair
                self._merge(pair)

    def _merge(self, pair: Pair) -> None:
        new = len(self.bytes)
        self.bytes.append(self.bytes[pair[0]] + self.bytes[pair[1]])
        changed: set[Pair] = set()
        for place in list(self.places[pair]):
            before, weight = self.words[place], self.weights[place]
            after = _merge_one(before, pair, new)
            self._count(place, before, -weight)
            self._count(place, after, weight)
            self.words[place] = after
            changed.update(pairwise(before), pairwise(after))
        for other in changed:
            heapq.heappush(self.heap, self._entry(other))

    def _count(self, place: int, word: list[int], weight: int) -> None:
        for pair in pairwise(word):
            self.counts[pair] += weight
            if weight > 0:
                self.places[pair].add(place)
            else:
                self.places[pair].discard(place)

    def _entry(self, pair: Pair) -> tuple[int, bytes, bytes, Pair]:
        return -self.counts[pair], self.bytes[pair[0]], self.bytes[pair[1]], pair


def _words(text: str, digits: int, *, lowercase: bool) -> Iterator[str]:
    return (match[0] for match in _WORD[digits].finditer(text.lower() if lowercase else text))


def _bytes_of_bytes() -> list[bytes]:
    """The bytes of padding (none) and of the 256 first ids."""
    return [b"", *(bytes([value]) for value in range(256))]


def _byte_ids(word: str) -> list[int]:
    return [FIRST_BYTE + value for value in word.encode("utf-8", "surrogatepass")]


def _merge_one(ids: Sequence[int], pair: Pair, new: int) -> list[int]:
    """Replace every ``pair``, from the left, by ``new``."""
    found, at = [], 0
    while at < len(ids):
        here = at + 1 < len(ids) and (ids[at], ids[at + 1]) == pair
        found.append(new if here else ids[at])
        at += 2 if here else 1
    return found


def _merge_all(ids: list[int], merged: dict[Pair, int]) -> list[int]:
    """Apply the earliest merge that fits until none does."""
    while len(ids) > 1:
        known = [(merged[pair], pair) for pair in pairwise(ids) if pair in merged]
        if not known:
            break
        new, pair = min(known)
        ids = _merge_one(ids, pair, new)
    return ids
