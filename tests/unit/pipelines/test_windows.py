"""Windows tile: nothing between them is lost, nothing is read twice."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from forge_pipelines.windows import floor, oldest, spans
from hypothesis import given
from hypothesis import strategies as st

moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
widths = st.integers(60, 86_400 * 400).map(lambda s: timedelta(seconds=s))


@given(moments, moments, st.integers(3600 * 24, 86_400 * 400).map(lambda s: timedelta(seconds=s)))
def test_spans_tile(start: datetime, end: datetime, width: timedelta) -> None:
    found = list(spans(start, end, width))
    if start >= end:
        assert found == []
        return
    assert found[0][0] == start and found[-1][1] == end
    assert all(a < b and b - a <= width for a, b in found)
    assert all(left[1] == right[0] for left, right in pairwise(found))


@given(moments, st.integers(1, 86_400).map(lambda s: timedelta(seconds=s)))
def test_floor_is_aligned_and_close(moment: datetime, step: timedelta) -> None:
    found = floor(moment, step)
    assert found <= moment < found + step
    assert int(found.timestamp()) % int(step.total_seconds()) == 0
    assert floor(found, step) == found


@given(moments, moments)
def test_the_oldest_is_found_by_bisection(first: datetime, high: datetime) -> None:
    low, grain, asked = datetime(2019, 1, 1, tzinfo=UTC), timedelta(days=7), []

    def exists_before(moment: datetime) -> bool:
        asked.append(moment)
        return first < moment

    found = oldest(exists_before, low, high, grain)
    assert len(asked) <= 12
    if first >= high:
        assert found is None
    else:
        assert found is not None and found <= first <= found + grain
