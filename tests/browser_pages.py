"""The pages people look at, in a real browser: which, what they must show, and pictures of them.

``make pictures`` runs a small shop, looks at its pages, breaks a check, looks again, and writes the
pictures to ``docs/pictures``.
"""

import shutil
import signal
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nexus_pipeline.run import RunFailedError
from tests.pipeline.conftest import Shop, command, run_shop, small_shop

if TYPE_CHECKING:
    from playwright.sync_api import Page as Tab

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
PATIENCE_S = 120
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
SIZE = {"width": 1440, "height": 900}


class Places(NamedTuple):
    """Addresses of the two pages."""

    dagster: str
    mlflow: str


class Shown(NamedTuple):
    """One page: its picture's name, its address, and words that must be on it."""

    name: str
    address: str
    words: tuple[str, ...]


CHECK = "no_order_costs_less_than_nothing"
FREE = "free-1,0,2025-12-20,-3.5\n"


def pages_of(shop: Shop, places: Places) -> list[Shown]:
    """The pages of a shop that was run."""
    dagster, task = places.dagster, "churned"
    whole = "view=lineage&lineageScope=upstream&lineageDepth=12"
    run = f"{places.mlflow}/#/experiments/1/runs/{shop.record('trained/churned').tracking_run_id}"
    return [
        Shown("dagster-catalog", f"{dagster}/assets", ("aligned", "Materialized")),
        Shown(
            "dagster-lineage",
            f"{dagster}/assets/shop/served/champion_{task}?{whole}",
            ("raw", "tokenized", "optimized", f"registered_{task}"),
        ),
        Shown(
            "dagster-asset",
            f"{dagster}/assets/shop/trained/{task}?view=overview",
            ("NexusFormer", "loss_curve", "score_curve"),
        ),
        Shown("dagster-automation", f"{dagster}/automation", ("shop_retraining", "shop_new_files")),
        Shown("mlflow-registry", f"{places.mlflow}/#/models/shop-{task}", ("@ champion",)),
        Shown("mlflow-run", run, ("shop/trained/churned", "dagster.run_id", "Finished")),
    ]


def failed_page(places: Places) -> Shown:
    """The page of an asset whose blocking check failed."""
    address = f"{places.dagster}/assets/shop/aligned/database?view=checks"
    return Shown("dagster-failed-check", address, (CHECK, "blocking", "Failed", "failures"))


def plant_check(shop: Shop) -> None:
    """A check of the project's own, in SQL: rows it returns are failures."""
    folder = shop.folder / "dbt_like_sql/shop/checks"
    folder.mkdir(parents=True, exist_ok=True)
    sql = "select order_id, amount from aligned.orders where amount < 0\n"
    (folder / f"{CHECK}.sql").write_text(sql, encoding="utf-8")


def break_check(shop: Shop) -> None:
    """An order that costs less than nothing arrives, and a run stops at it."""
    with (shop.raw / "orders.csv").open("a", encoding="utf-8") as text:
        text.write(FREE)
    try:
        run_shop(shop)
    except RunFailedError:
        return
    raise AssertionError("nothing stopped the run")


class Looked(NamedTuple):
    """What the browser saw of a page: its text, errors of its scripts, what it asked elsewhere."""

    text: str
    errors: tuple[str, ...]
    elsewhere: tuple[str, ...]


@contextmanager
def browser_tab() -> Iterator["Tab"]:
    """A tab of the machine's own browser, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=BROWSER, args=FLAGS)
        try:
            yield browser.new_page(viewport=SIZE)
        finally:
            browser.close()


def look_at(tab: "Tab", shown: Shown, picture: Path | None = None) -> Looked:
    """Open a page and wait for its words.

    Raises:
        TimeoutError: a word did not come; the text that was there is told.
    """
    from playwright.sync_api import TimeoutError as Late

    errors: list[str] = []
    elsewhere: list[str] = []

    def asked(request: object) -> None:
        url = str(request.url)  # type: ignore[attr-defined]
        if not url.startswith(("http://127.0.0.1", "data:", "blob:")):
            elsewhere.append(url)

    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", asked)
    tab.goto(shown.address, wait_until="domcontentloaded")
    for word in shown.words:
        try:
            tab.get_by_text(word).first.wait_for(state="attached", timeout=PATIENCE_S * 1000 / 4)
        except Late as error:
            found = tab.inner_text("body")[:1500]
            raise TimeoutError(f"{shown.name}: no {word!r} on the page, but: {found}") from error
    if picture is not None:
        tab.wait_for_timeout(2500)
        close = tab.get_by_label("Close", exact=True)
        if close.count():
            close.first.click()
            tab.wait_for_timeout(500)
        tab.screenshot(path=str(picture))
    text = tab.inner_text("body")
    tab.remove_listener("request", asked)
    return Looked(text, tuple(errors), tuple(elsewhere))


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(address: str) -> bool:
    """Whether a page is served there."""
    try:
        with urllib.request.urlopen(address, timeout=5) as page:
            return bool(page.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def serving(shop: Shop) -> Iterator[Places]:
    """``nexusflow ui`` on free ports, until the block ends."""
    ports = free_port(), free_port()
    words = ["--dagster-port", str(ports[0]), "--mlflow-port", str(ports[1])]
    entry = "from nexus_pipeline.cli import main; main()"
    process = command("-c", entry, "ui", *words, shop=shop, start_new_session=True)
    places = Places(*(f"http://127.0.0.1:{port}" for port in ports))
    try:
        give_up_at = time.monotonic() + PATIENCE_S
        while not all(answers(place) for place in places):
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise TimeoutError("the pages are not served")
            time.sleep(0.5)
        yield places
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def main() -> None:
    """Write the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nexus-pictures-") as place:
        shop = small_shop(Path(place))
        plant_check(shop)
        run_shop(shop)
        with serving(shop) as places, browser_tab() as tab:
            for shown in pages_of(shop, places):
                look_at(tab, shown, PICTURES / f"{shown.name}.png")
            break_check(shop)
            shown = failed_page(places)
            look_at(tab, shown, PICTURES / f"{shown.name}.png")


if __name__ == "__main__":
    main()
