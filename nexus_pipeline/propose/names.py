"""What names say: the words of a column or table, and how well a column names another table."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from nexus_pipeline.settings.names import ascii_letters

ID_WORDS = frozenset(
    {
        "id", "ids", "key", "code", "no", "nr", "num", "number", "pk", "fk", "uuid", "guid", "ref",
        "sk", "identifier", "sku", "cd",
    }
)  # fmt: skip
_FILLERS = frozenset(
    {"tbl", "dim", "fact", "stg", "raw", "data", "dataset", "table", "t", "vw", "src", "csv", "tab"}
)
_SELF_ROLES = frozenset(
    {
        "parent", "manager", "supervisor", "boss", "referrer", "referred", "reports", "previous",
        "prev", "next", "reply", "mentor", "superior", "leader", "root", "original", "replaces",
        "spouse", "lead", "head", "predecessor", "successor", "chief", "mother", "father",
    }
)  # fmt: skip
_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+")
_GLUED = re.compile(r"^([a-z]{3,})(id|key|code|nr)$")
_NOT_GLUED = frozenset({"valid", "paid", "grid", "covid", "android", "solid", "rapid", "fluid",
    "avoid", "unpaid", "prepaid", "madrid", "hybrid", "turkey", "hockey", "monkey", "invalid",
    "barcode", "zipcode", "qrcode", "humid", "amid"})  # fmt: skip
_IRREGULAR = {"people": "person", "children": "child", "men": "man", "women": "woman",
    "series": "series", "data": "data", "indices": "index", "status": "status", "news": "news",
    "address": "address", "bus": "bus"}  # fmt: skip


@cache
def words(name: str) -> tuple[str, ...]:
    """The words of a name, lower case, in the singular.

    >>> words("nationalityCountryID"), words("order_lines"), words("customerid")
    (('nationality', 'country', 'id'), ('order', 'line'), ('customer', 'id'))
    """
    found: list[str] = []
    for part in _PARTS.findall(ascii_letters(name)):
        glued = _GLUED.match(part.lower())
        if glued and part.lower() not in _NOT_GLUED:
            found += [glued[1], glued[2]]
        else:
            found.append(part.lower())
    return tuple(singular(word) for word in found)


def singular(word: str) -> str:
    """A word's singular, by the usual rules of English.

    >>> singular("categories"), singular("boxes"), singular("class")
    ('category', 'box', 'class')
    """
    if word in _IRREGULAR or len(word) < 4:
        return _IRREGULAR.get(word, word)
    if word.endswith("ies"):
        return word[:-3] + "y"
    if re.search(r"(s|x|ch|sh)es$", word):
        return word[:-2] if not word.endswith("ses") or word.endswith("sses") else word[:-1]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def core(name: str) -> tuple[str, ...]:
    """The words of a column's name without those that only say "key".

    >>> core("customer_id"), core("id"), core("c_custkey")
    (('customer',), (), ('cust',))
    """
    found = [word for word in words(name) if word not in ID_WORDS]
    if len(found) > 1 and len(found[0]) == 1:
        found = found[1:]
    return tuple(found)


def says_key(name: str) -> bool:
    """Whether a column's name has a word that says "key"."""
    return any(word in ID_WORDS for word in words(name))


def table_cores(tables: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The words of each table's name, without fillers and without words that all tables share.

    >>> table_cores(["dim_customers", "olist_orders", "olist_items", "olist_x"])["olist_orders"]
    ('order',)
    """
    counts = Counter(word for table in tables for word in set(words(table)))
    shared = {
        word for word, count in counts.items() if len(tables) > 3 and count >= 0.7 * len(tables)
    }
    found = {}
    for table in tables:
        all_words = words(table)
        kept = tuple(word for word in all_words if word not in shared | _FILLERS)
        found[table] = kept or all_words
    return found


def names_table(
    column: str, parent: tuple[str, ...], key: str, *, same_table: bool
) -> tuple[float, str]:
    """How well a column's name points at a table (its words) with this key; and why, in words.

    >>> names_table("home_team_id", ("team",), "id", same_table=False)[0]
    0.9
    >>> names_table("manager_id", ("employee",), "id", same_table=True)[0]
    0.8
    """
    mine, theirs = core(column), core(key)
    table = " ".join(parent)
    if same_table:
        role = bool(set(mine) & _SELF_ROLES) and (says_key(column) or len(mine) == 1)
        return (0.8, "its name is a role within the same table") if role else (0.0, "")
    if mine and mine == theirs:
        return (1.0 if words(column) == words(key) else 0.95), f"it is named like {key}"
    if mine and mine == parent:
        return 0.97, f"it is named after the table ({table})"
    for target in (parent, theirs):
        if target and len(mine) > len(target) and mine[-len(target) :] == target:
            return 0.9, f"its name ends in {' '.join(target)}, after a role"
        if target and len(mine) > len(target) and mine[: len(target)] == target:
            return 0.8, f"its name begins with {' '.join(target)}, before a role"
    return _loosely("".join(mine), parent, theirs)


def _loosely(mine: str, parent: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[float, str]:
    for target in ("".join(parent), parent[-1], "".join(theirs)):
        if len(mine) < 3 or len(target) < 3 or target == mine == "":
            continue
        if mine == target:
            return 0.85, f"it is named after {target}"
        if target.startswith(mine) or mine.startswith(target):
            return 0.8, f"its name abbreviates {target}" if len(mine) < len(target) else (
                f"its name begins with {target}"
            )
        if is_short_for(mine, target):
            return 0.7, f"its letters abbreviate {target}"
        if difflib.SequenceMatcher(None, mine, target).ratio() >= 0.85:
            return 0.7, f"its name is close to {target}"
    return 0.0, ""


def is_short_for(short: str, long: str) -> bool:
    """Whether a text is another with letters left out, but for the first.

    >>> is_short_for("tm", "team"), is_short_for("eam", "team")
    (True, False)
    """
    letters = iter(long)
    inside = all(letter in letters for letter in short)
    return inside and 1 < len(short) < len(long) and short[0] == long[0]
