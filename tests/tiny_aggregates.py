"""A small database of every kind of path, and every aggregate of it by looking at every row."""

import datetime as dt
from collections import Counter
from typing import NamedTuple

import pyarrow as pa
from tiny import table_spec

from nexus_model.schema import (
    DatabaseSpec,
    SemanticType,
    TaskKind,
    TaskSpec,
)

START = dt.datetime(2000, 1, 1)
DAY = dt.timedelta(days=1)
NUMBER, CLASS = SemanticType.NUMERICAL, SemanticType.CATEGORICAL
MOMENT, TEXT = SemanticType.TIMESTAMP, SemanticType.TEXT


def _table(name, columns, keys=(), time=None):
    return table_spec(name, columns, {f"{parent}_id": parent for parent in keys}, time)


PLAYER = {"height": NUMBER, "role": CLASS, "born": MOMENT, "bio": TEXT}
GAME = {"score": NUMBER, "result": CLASS, "planned": MOMENT}
TABLES = (
    _table("leagues", {"rank": NUMBER}),
    _table("players", PLAYER, keys=["leagues"]),
    _table("venues", {"seats": NUMBER, "roof": CLASS}, time="opened"),
    _table("clubs", {"city": CLASS}),
    _table("games", GAME, keys=["players", "venues", "clubs"], time="played"),
    _table("fouls", {"minute": NUMBER}, keys=["games"], time="seen"),
    _table("prizes", {"worth": NUMBER}, keys=["players", "venues"]),
    _table("forms", {"points": NUMBER}, keys=["clubs"], time="at"),
    _table("rounds", {"goals": NUMBER, "kind": CLASS}, keys=["leagues"], time="held"),
    _table("label_history_win", {"past_label": CLASS}, keys=["players"], time="window_end"),
)
DATABASE = DatabaseSpec(tables=TABLES)
TASK = TaskSpec(name="win", kind=TaskKind.BINARY, entity_table="players", horizon_days=30)
STATIC = TASK.model_copy(update={"horizon_days": None, "target_column": "role"})
SIZES = {
    "leagues": 3, "players": 7, "venues": 5, "clubs": 3, "games": 97, "fouls": 61, "prizes": 17,
    "forms": 41, "rounds": 29, "label_history_win": 43,
}  # fmt: skip
ARROW = {NUMBER: pa.float64(), CLASS: pa.string(), MOMENT: pa.timestamp("us"), TEXT: pa.string()}
DAYS = (30, 90, 365)
OF_PARENT = ("count", "last", "mean_10", "mean_40", "mean_365d", "days")


class Seen(NamedTuple):
    """A row as a sample sees it: its moment, its order among rows of one moment, its cells."""

    moment: dt.datetime
    row: int
    cells: dict


class Reference:
    """Every feature by looking at every row, one sample at a time."""

    def __init__(self, rows, task):
        self.rows, self.task, self.static = rows, task, task.horizon_days is None

    def dated(self, table):
        return DATABASE[table].time_column is not None and not self.static

    def known(self, table, row, moment):
        if not self.dated(table):
            return True
        return None not in (row["_time"], moment) and row["_time"] <= moment

    def cells(self, table, row, moment, without=None):
        """Own cells, and those of parents that are not later than the row."""
        spec = DATABASE[table]
        found = {
            column.name: (column.semantic, row[column.name])
            for column in spec.columns
            if (table, column.name) != ("players", self.task.target_column)
        }
        if table.startswith("label_history"):
            past = row["past_label"]
            found["past_label.number"] = (NUMBER, None if past is None else float(past))
        for index, key in enumerate(spec.foreign_keys if without is not None else ()):
            if index == without:
                continue
            place, parent = row[f"_fk_{index}"], key.references_table
            found[key.label] = (CLASS, None if place is None else str(place))
            visible = place is not None and self.known(parent, self.rows[parent][place], moment)
            for column in DATABASE[parent].columns:
                value = self.rows[parent][place][column.name] if visible else None
                found[f"{key.label}.{column.name}"] = (column.semantic, value)
        return found

    def children(self, table, key, parent, cutoff, *, parents=True):
        """Visible rows in order; rows without a moment of their own have none."""
        found = []
        for row in self.rows[table]:
            if row[f"_fk_{key}"] == parent is not None and self.known(table, row, cutoff):
                moment = row["_time"]
                cells = self.cells(table, row, moment, without=key if parents else None)
                found.append(Seen(moment or dt.datetime.min, row["_row"], cells))
        return sorted(found, key=lambda seen: seen[:2])

    def paths(self, sample):
        entity, cutoff = sample["entity_row"], sample["as_of"]
        for table in ("games", "prizes", "label_history_win"):
            yield table, self.children(table, 0, entity, cutoff), False
        fouls = []
        for game in self.rows["games"]:
            if game["_fk_0"] == entity and self.known("games", game, cutoff):
                for foul in self.children("fouls", 0, game["_row"], cutoff):
                    later = max(foul.moment, game["_time"] or foul.moment)
                    fouls.append(foul._replace(moment=later))
        yield "games/fouls", sorted(fouls, key=lambda seen: seen[:2]), False
        games = self.children("games", 0, entity, cutoff)
        for label, table, key in [
            ("venues_id>venues", "games", 1),
            ("venues_id>venues", "prizes", 1),
            ("clubs_id>clubs", "games", 2),
            ("clubs_id>clubs", "forms", 0),
        ]:
            last = games[-1].cells[label][1] if games else None
            seen = self.children(table, key, last and int(last), cutoff, parents=False)
            yield f"games/{label}/{table}", seen, True

        league = self.rows["players"][entity]["_fk_0"]
        rounds = self.children("rounds", 0, league, cutoff, parents=False)
        yield "leagues_id>leagues/rounds", rounds, False

    def features(self, sample):
        found = {}
        for path, seen, is_anchored in self.paths(sample):
            table = path.split("/")[-1]
            values = dict(self.about_rows(seen, sample["as_of"], self.dated(table)))
            blank = self.cells(table, self.rows[table][0], None, None if is_anchored else 0)
            for name, (semantic, _) in blank.items():
                for statistic, value in self.about(semantic, name, seen, sample["as_of"]):
                    if self.dated(table) or not statistic.endswith(("0d", "5d")):
                        values[f"{name}.{statistic}"] = value
            kept = OF_PARENT if is_anchored else {key.split(".")[-1] for key in values}
            values = {key: v for key, v in values.items() if key.split(".")[-1] in kept}
            found |= {f"{path}.{key}": value for key, value in values.items()}
        return found | self.around(sample)

    def around(self, sample):
        cutoff, player = sample["cutoff"], self.rows["players"][sample["entity_row"]]
        found = {f"entity.{n}": v for n, v in self.cells("players", player, cutoff).items()}
        league = player["_fk_0"]
        rank = None if league is None else self.rows["leagues"][league]["rank"]
        found["parent.leagues_id>leagues"] = (CLASS, None if league is None else str(league))
        found["parent.leagues_id>leagues.rank"] = (NUMBER, rank)
        found = {n: self.plain(s, v, cutoff) for n, (s, v) in found.items() if s is not TEXT}
        if not self.static:
            found |= {"cutoff.year": cutoff.year, "cutoff.month": cutoff.month}
            found["cutoff.day_of_year"] = cutoff.timetuple().tm_yday
            found["cutoff.days_stale"] = (cutoff - sample["as_of"]) / DAY
        return found

    @staticmethod
    def plain(semantic, value, cutoff):
        if semantic is NUMBER:
            return None if value in (None, float("inf")) else value
        if semantic is MOMENT and value is not None:
            return ((cutoff or dt.datetime(1970, 1, 1)) - value) / DAY
        return value

    @staticmethod
    def about_rows(seen, cutoff, timed):
        yield "count", len(seen)
        if timed:
            ages = [(cutoff - row.moment) / DAY for row in seen]
            yield "days_since_last", ages[-1] if ages else None
            yield "days_since_first", ages[0] if ages else None
            yield from ((f"count_{days}d", sum(age < days for age in ages)) for days in DAYS)

    def about(self, semantic, name, seen, cutoff):
        values = [self.plain(semantic, row.cells[name][1], cutoff) for row in seen]
        last = values[-1] if values else None
        if semantic is NUMBER:
            yield "last", last
            yield from ((f"mean_{k}", _mean(values[-k:])) for k in (3, 5, 10, 25, 40))
            yield "mean", _mean(values)
            three, ten = _mean(values[-3:]), _mean(values[-10:])
            yield "trend", None if None in (three, ten) else three - ten
            present = [value for value in values if value is not None]
            yield from (("min", min(present, default=None)), ("max", max(present, default=None)))
            for days in DAYS if cutoff else ():
                newer = sum(cutoff - row.moment < days * DAY for row in seen)
                yield f"mean_{days}d", _mean(values[len(values) - newer :])
        elif semantic is CLASS:
            counts = Counter(value for value in values if value is not None)
            yield "last", last
            yield "distinct", len(counts) if seen else None
            yield "mode_share", max(counts.values()) / counts.total() if counts else None
        elif semantic is MOMENT:
            yield "days", last


def _mean(values):
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
