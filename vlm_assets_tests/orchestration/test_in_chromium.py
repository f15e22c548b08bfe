"""Pages as a person sees them: a real webserver, daemon and code server, and what stands there in chromium.

The same pages, without a browser and without services, are looked at by `test_pages_served` in each run.
"""

from collections.abc import Iterator

import dagster as dg
import pytest

from vlm_assets.orchestration.assets.metadata_line import shortfalls
from vlm_assets.orchestration.names import REPORT_KEY
from vlm_assets_tests.browser import Browser
from vlm_assets_tests.orchestration.pages import EXAM, LONGEST_WORD, PAGES, TARGET, street
from vlm_assets_tests.orchestration.services import Services, wait_for
from vlm_assets_tests.orchestration.wide import CERTIFICATE, TABLES
from vlm_assets_tests.waiting import HANG_S, LONG_HANG_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LONG_HANG_S)]

_WIDE_WORDS = f"""return [...document.querySelectorAll('td')].flatMap(one => one.innerText.split(/\\s+/))
    .filter(word => word.length > {LONGEST_WORD})"""
_CUT_CELLS = """return [...document.querySelectorAll('td')].flatMap(cell => {
    for (let one = cell.parentElement; one; one = one.parentElement)
        if (getComputedStyle(one).overflowX !== 'visible' && one.scrollWidth > one.clientWidth + 1)
            return [cell.innerText];
    return []; })"""
_AREAS = """return [...document.querySelectorAll('[class*=assetEventMetadataScrollContainer]')]
    .map(one => [one.scrollWidth, one.clientWidth])"""
_IS_WIDE = "return document.documentElement.scrollWidth > window.innerWidth"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    base = tmp_path_factory.mktemp("chromium")
    with Services(street(base), base) as services:
        services.ended(services.launch("listings"))
        services.backfilled(services.backfill("street", ["day", "dusk", "night"]))
        services.backfilled(services.backfill(EXAM, ["root"]))
        services.ended(services.launch("corpus_line", tags={"dagster/partition": TARGET}))
        yield services


@pytest.fixture(
    scope="module", params=[(1280, "Dark"), (1920, "Light")], ids=lambda one: f"{one[0]}-{one[1]}"
)
def browser(request: pytest.FixtureRequest, services: Services) -> Iterator[Browser]:
    width, theme = request.param
    with Browser(width, 1000) as browser:
        browser.open(services.url, "Overview")
        browser.run(f"localStorage.setItem('dagster-theme', '\"{theme}\"')")
        yield browser


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_is_so_and_fits(services: Services, browser: Browser, name: str):
    browser.open(services.url + PAGES[name].path, *PAGES[name].texts)
    assert browser.run(_WIDE_WORDS) == []
    assert not browser.run(_IS_WIDE)


def overview_fits(services: Services, browser: Browser, asset: str, *texts: str) -> None:
    browser.open(f"{services.url}/assets/{asset}", "Metadata", *texts)
    areas = browser.run(_AREAS)
    assert areas
    assert [(scrolled, shown) for scrolled, shown in areas if scrolled > shown] == []
    assert browser.run(_CUT_CELLS) == []


@pytest.mark.parametrize(
    ("asset", "text"),
    [
        ("dataset/street", "content hash"),
        ("listing/street", "items before"),
        ("allocation", "contamination"),
        ("corpus", "rows by subcategory"),
        ("report", "composition"),
    ],
)
def test_an_overview_cuts_no_cell(services: Services, browser: Browser, asset: str, text: str):
    overview_fits(services, browser, asset, text)


def test_an_overview_of_long_names_and_ten_million_rows_cuts_no_cell(services: Services, browser: Browser):
    told = {"what came out": dg.MetadataValue.md(shortfalls(CERTIFICATE)), **TABLES}
    with services.instance() as instance:
        event = dg.AssetMaterialization(REPORT_KEY, partition=TARGET, metadata=told)
        instance.report_runless_asset_event(event)
    overview_fits(services, browser, "report", "composition", "120,000,000", "9 rows of the target")


def test_the_graph_shows_that_a_slice_failed(services: Services, browser: Browser):
    browser.open(f"{services.url}/assets/dataset/street?view=lineage", "street", "3 partitions", "1 failed")


def test_runs_are_in_the_timeline(services: Services, browser: Browser):
    browser.open(f"{services.url}/overview/activity/timeline", "corpus_line")


def test_execute_all_judges_every_target(services: Services, browser: Browser):
    page = f"{services.url}/assets/corpus?view=checks&checkDetail=counts"
    browser.open(page, "Execute all", "Holds: 3 rows")
    with services.instance() as instance:
        before = len(instance.get_runs())
    assert browser.click("Execute all")

    def newest() -> str | None:
        with services.instance() as instance:
            runs = instance.get_runs()
        return runs[0].run_id if len(runs) > before else None

    run_id = wait_for(newest, "a run of the checks")
    assert services.ended(run_id) == "SUCCESS"
    browser.open(page, "Holds: 3 rows", "Passed")  # of the target; what is said of all stands in the history


def shows(browser: Browser, url: str, *texts: str) -> bool:
    """Whether a page says this soon; while a location is being loaded its assets lead to the list of all."""
    try:
        browser.open(url, *texts, seconds=HANG_S / 10)
    except AssertionError:
        return False
    return True


def test_a_catalogue_without_faults_says_so(services: Services, browser: Browser):
    browser.open(f"{services.url}/assets/catalog?view=checks", "The catalogue is served as its files say")


def test_a_broken_catalogue_is_an_error_after_a_reload(services: Services, browser: Browser):
    file = services.installation.catalog_dir / "corpus.yaml"
    good = file.read_text("utf-8")
    file.write_text("name: [", "utf-8")
    try:
        services.ask("mutation { reloadWorkspace { __typename } }")
        page = f"{services.url}/assets/catalog?view=checks"
        wait_for(lambda: shows(browser, page, "The catalogue has 1 fault", "Failed"), "the fault")
        browser.open(f"{services.url}/assets/dataset/street", "client_folder")
    finally:
        file.write_text(good, "utf-8")
        services.ask("mutation { reloadWorkspace { __typename } }")
