"""The pages as a person sees them, in a real browser."""

import pytest

from tests.browser_pages import (
    BROWSER,
    CHECK,
    break_check,
    browser_tab,
    failed_page,
    look_at,
    pages_of,
    plant_check,
    serving,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no browser is installed"),
]


def test_every_page_shows_its_words_without_an_error_and_asks_nobody_else(copied):
    plant_check(copied)
    break_check(copied)
    with serving(copied) as places, browser_tab() as tab:
        pages = [*pages_of(copied, places), failed_page(places)]
        looked = {shown.name: look_at(tab, shown) for shown in pages}
    assert {name: found.errors for name, found in looked.items() if found.errors} == {}
    assert {name: found.elsewhere for name, found in looked.items() if found.elsewhere} == {}
    assert CHECK in looked["dagster-failed-check"].text
