"""The generated tables: as many rows as asked, skewed, in order of time, the same every time."""

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.speed.tables import MOST, Shape, children_of, event_batches, write_events


def events(shape, seed=0):
    return pa.Table.from_batches(event_batches(shape, seed))


@pytest.mark.parametrize("shape", [Shape(10, 200), Shape(300, 7001), Shape(2000, 600_001)])
def test_there_are_as_many_events_as_asked_and_each_entity_has_its_own_number(shape):
    made = events(shape)
    assert len(made) == shape.events
    found = np.bincount(made["entity_id"].to_numpy(), minlength=shape.entities)
    assert (found == children_of(shape)).all()


def test_a_few_entities_have_a_hundred_thousand_children_and_most_have_few():
    counts = np.sort(children_of(Shape(50_000, 5_000_000)))
    assert (counts[-3:] == MOST).all()
    assert counts[-4] < MOST
    assert np.median(counts) < counts.mean() / 2


def test_events_come_in_the_order_of_time_with_keys_that_count_up():
    made = events(Shape(300, 7001))
    assert made["event_id"].to_pylist() == list(range(7001))
    moments = made["happened"].to_numpy()
    assert (moments[1:] >= moments[:-1]).all()
    assert len(np.unique(moments)) == 7001


def test_the_same_arguments_give_the_same_rows_and_another_seed_others():
    shape = Shape(50, 1000)
    assert events(shape).equals(events(shape))
    assert not events(shape).equals(events(shape, seed=1))


def test_a_file_larger_than_a_batch_is_written_a_batch_at_a_time(tmp_path):
    import pyarrow.parquet as pq

    write_events(tmp_path / "events.parquet", Shape(2000, 1_200_000))
    file = pq.ParquetFile(tmp_path / "events.parquet")
    assert file.metadata.num_rows == 1_200_000
    assert file.metadata.num_row_groups == 3
