"""The audit trail: nothing is changed unseen, nothing is lost in a crash, nothing is skipped."""

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from nexus_pipeline.lineage.audit import AuditError, Trail
from nexus_pipeline.lineage.verify import read_trail, verify

LINES = 6


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    made = Trail(tmp_path / "audit" / "shop.jsonl")
    for number in range(LINES):
        made.note("made", {"key": f"shop/raw/{number}", "reason": "é"})
    return made


def changed(trail: Trail, change) -> tuple[str, ...]:
    """The problems that are found after a change of the list of lines."""
    lines = trail.path.read_bytes().splitlines(keepends=True)
    trail.path.write_bytes(b"".join(change(lines)))
    return verify(trail).problems


def test_a_trail_says_who_when_what_and_is_whole(trail):
    entry = read_trail(trail)[-1]
    assert (entry["number"], entry["what"], entry["key"]) == (LINES, "made", "shop/raw/5")
    assert all(entry[name] for name in ("user", "host", "at", "before", "hash"))
    found = verify(trail)
    assert (found.lines, found.problems, found.notes) == (LINES, (), ())


@pytest.mark.parametrize("at", range(LINES))
def test_an_edited_line_is_found(trail, at):
    old = f"shop/raw/{at}".encode()
    problems = changed(trail, lambda lines: [line.replace(old, b"shop/raw/9") for line in lines])
    assert f"line {at + 1} was edited" in problems


@pytest.mark.parametrize("at", range(LINES))
def test_a_line_that_is_edited_with_its_own_hash_is_found(trail, at):
    from nexus_pipeline.lineage.audit import hash_of

    def forge(lines):
        entry = json.loads(lines[at]) | {"key": "forged"}
        entry["hash"] = hash_of(entry)
        text = json.dumps(entry, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        return [*lines[:at], text, *lines[at + 1 :]]

    assert changed(trail, forge)


@pytest.mark.parametrize("at", range(LINES))
def test_a_removed_line_is_found_even_the_last(trail, at):
    assert changed(trail, lambda lines: [*lines[:at], *lines[at + 1 :]])


@pytest.mark.parametrize("at", range(LINES - 1))
def test_lines_in_another_order_are_found(trail, at):
    assert changed(trail, lambda lines: [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]])


@pytest.mark.parametrize("at", range(LINES + 1))
@pytest.mark.parametrize("text", [b"x\n", b"\n", b"{}\n"], ids=["text", "empty", "object"])
def test_an_inserted_line_is_found(trail, at, text):
    problems = changed(trail, lambda lines: [*lines[:at], text, *lines[at:]])
    assert problems or (text == b"\n" and at == LINES)


@pytest.mark.parametrize("left", range(1, LINES))
def test_a_line_that_is_there_twice_is_found(trail, left):
    assert changed(trail, lambda lines: [*lines[:left], lines[left - 1], *lines[left:]])


@pytest.mark.parametrize("cut", [1, 5, 100, 400, 1500])
def test_a_truncated_tail_is_found(trail, cut):
    trail.path.write_bytes(trail.path.read_bytes()[:-cut])
    assert any("the end is missing" in told for told in verify(trail).problems)


def test_a_trail_that_is_gone_is_found(trail):
    trail.path.unlink()
    assert verify(trail).problems
    with pytest.raises(AuditError, match="its lines are gone"):
        trail.note("made", {})


def test_a_head_that_is_gone_is_found(trail):
    trail.head_path.unlink()
    assert verify(trail).problems
    with pytest.raises(AuditError):
        trail.note("made", {})


def test_a_trail_that_is_written_anew_is_found_by_the_heads_kept_elsewhere(trail):
    kept = {"shop-churned version 1": verify(trail).head}
    assert verify(trail, kept).is_whole
    trail.path.unlink(), trail.head_path.unlink()
    for number in range(LINES + 2):
        trail.note("made", {"key": f"forged/{number}"})
    assert verify(trail).is_whole
    assert "shop-churned version 1" in verify(trail, kept).problems[0]


def test_nothing_is_written_after_a_line_that_was_edited(trail):
    changed(trail, lambda lines: [*lines[:-1], lines[-1].replace(b"raw/5", b"raw/7")])
    with pytest.raises(AuditError, match="audit verify"):
        trail.note("promoted", {})


@pytest.mark.parametrize("part", [1, 30, 10_000], ids=["a-byte", "some", "all-but-the-line-end"])
def test_a_crash_within_a_line_is_told_and_the_chain_goes_on(trail, part):
    lost = Trail(trail.path)
    whole, head = trail.path.read_bytes(), trail.head_path.read_bytes()
    lost.note("made", {"key": "lost"})
    line = trail.path.read_bytes()[len(whole) : -1]
    trail.path.write_bytes(whole + line[:part])
    trail.head_path.write_bytes(head)
    found = verify(trail)
    assert (found.lines, found.is_whole) == (LINES, True)
    assert "is torn" in found.notes[0]
    trail.note("made", {"key": "next"})
    found = verify(trail)
    assert (found.lines, found.problems) == (LINES + 1, ())
    assert "cut off by a crash" in found.notes[0]
    assert changed(trail, lambda lines: [*lines[:LINES], *lines[LINES + 1 :]])


def test_a_crash_between_line_and_head_is_healed_by_the_next_line(trail):
    head = trail.head_path.read_bytes()
    trail.note("made", {"key": "last"})
    trail.head_path.write_bytes(head)
    assert "one line behind" in verify(trail).notes[0]
    trail.note("made", {"key": "next"})
    found = verify(trail)
    assert (found.lines, found.problems, found.notes) == (LINES + 2, (), ())


def write_some(path: Path, writer: int) -> None:
    for number in range(25):
        Trail(path).note("made", {"key": f"{writer}/{number}"})


def test_processes_that_write_at_once_make_one_chain(tmp_path):
    path = tmp_path / "shop.jsonl"
    with ProcessPoolExecutor(4) as several:
        list(several.map(write_some, [path] * 4, range(4)))
    found = verify(Trail(path))
    assert (found.lines, found.problems) == (100, ())
    assert len({entry["key"] for entry in read_trail(Trail(path))}) == 100


def test_a_trail_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "audit").write_text("a file where the folder should be")
    with pytest.raises(AuditError, match="not written"):
        Trail(tmp_path / "audit" / "shop.jsonl").note("made", {})


def test_a_line_longer_than_a_block_is_the_last_line(tmp_path):
    trail = Trail(tmp_path / "shop.jsonl")
    for size in (10, 200_000, 300_000, 10):
        trail.note("made", {"key": "x" * size})
    assert verify(trail).is_whole
