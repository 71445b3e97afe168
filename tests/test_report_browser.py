"""The report in a browser without a screen: widths, keyboard, requests, overprinted labels, print.

Skipped where there is no browser: `apt-get install chromium`, or `playwright install chromium`.
"""

from __future__ import annotations

import json
import re
import shutil

import pytest
import synthetic_run
from cotrain.pipeline import report
from cotrain.pipeline.report.compare import page as comparison
from cotrain.pipeline.report.html import render

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install .[test])")

SCREEN = 800  # pixels of height
PATIENCE_MS = 180_000  # a busy machine is slow, not broken
A4_PX = (297 - 2 * 14) / 25.4 * 96  # height of a printed page between its margins, in CSS pixels


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        try:
            opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"], timeout=PATIENCE_MS)
        except sync_api.Error as error:
            pytest.skip(f"no browser starts: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A localiser's page, a segmenter's, and one of twenty experiments side by side."""
    folder, documents, pages = tmp_path_factory.mktemp("pages"), [], {}
    for name in ("demo-locnet", "demo-cae"):
        inputs = report.load(synthetic_run.make(folder / "runs", name))
        document = report.build_document(inputs)
        documents.append(json.loads(json.dumps(document)))
        pages[name] = render(report.build_page(document, inputs))
    twenty = []
    for i in range(20):
        copied = json.loads(json.dumps(documents[i % 2]))
        copied["experiment"] = f"experiment-of-some-length-{i:02d}"
        copied["settings"]["train"]["epochs"] = 10 + i
        twenty.append(copied)
    pages["twenty"] = render(comparison(twenty))
    for name, html in pages.items():
        (folder / f"{name}.html").write_bytes(html)
    return folder


OPEN_ALL = "document.querySelectorAll('details').forEach((fold) => { fold.open = true })"
EVERY_WIDE_TABLE_SAYS_SO = """() => [...document.querySelectorAll('.table')]
  .filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1)
  .every((e) => getComputedStyle(e.previousElementSibling, '::after').content.includes('scroll'))"""


def opened(browser, files, name, width=1280, **options):
    page = browser.new_page(viewport={"width": width, "height": SCREEN}, **options)
    page.set_default_timeout(PATIENCE_MS)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto((files / f"{name}.html").as_uri())
    return page


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("name", ["demo-locnet", "demo-cae", "twenty"])
def test_nothing_is_wider_than_the_window(browser, files, name, width):
    page = opened(browser, files, name, width)
    for everything in (False, True):
        if everything:
            page.evaluate(OPEN_ALL)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.wait_for_function(EVERY_WIDE_TABLE_SAYS_SO)  # sizes are observed, which takes a moment
    page.close()


def test_a_table_that_fits_has_no_hint(browser, files):
    page = opened(browser, files, "demo-cae")
    assert page.locator(".overflows").count() == 0
    assert page.evaluate("getComputedStyle(document.querySelector('.tabular figcaption'), '::after').content") == "none"
    page.close()


@pytest.mark.parametrize("name", ["demo-locnet", "demo-cae"])
def test_the_page_is_short_and_decides_first(browser, files, name):
    page = opened(browser, files, name)
    assert page.evaluate("document.documentElement.scrollHeight") < 6 * SCREEN
    for question in page.locator(".facts dt").all():
        box = question.bounding_box()
        assert box["y"] + box["height"] < SCREEN / 2
    assert page.locator(".facts > div").count() == 5
    page.close()


@pytest.mark.parametrize("name", ["demo-locnet", "twenty"])
def test_no_request_leaves_the_page(browser, files, name):
    page = opened(browser, files, name)
    page.wait_for_load_state("networkidle")
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in page.asked if url.startswith("file:")]) == 1
    page.close()


def test_folding_by_keyboard(browser, files):
    page = opened(browser, files, "demo-locnet")
    fold = page.locator("details.section:not([open])").first
    fold.locator("summary").first.focus()
    body = fold.locator(".body")
    page.keyboard.press("Enter")
    section = page.locator("details.section:has(summary:focus)")
    assert section.evaluate("e => e.open") and section.locator(".body").bounding_box()["height"] > 0
    page.keyboard.press("Space")
    assert not section.evaluate("e => e.open") and not body.is_visible()
    page.close()


def test_folding_without_scripts(browser, files):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 420, "height": SCREEN})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto((files / "demo-locnet.html").as_uri())
    curves = page.locator("figcaption", has_text="Training of the ANN")
    assert not curves.is_visible()
    page.locator("#training").click()
    assert curves.is_visible()
    worst = page.locator(".strip .card")
    page.locator(".thumbnails label").nth(2).click()
    assert [card.is_visible() for card in worst.all()[:4]] == [False, False, True, False]
    context.close()


def test_sorting_by_keyboard(browser, files):
    page = opened(browser, files, "demo-locnet")
    table = page.locator("table.sortable").first
    head = table.locator("th[scope=col]").nth(1)
    column = table.locator("tbody td:nth-child(2)")
    before = column.all_inner_texts()
    assert head.get_attribute("aria-sort") == "none"
    head.locator("button").focus()
    values = sorted(int(text.replace(",", "")) for text in before)
    for state, wanted in (("ascending", values), ("descending", values[::-1])):
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == state
        assert [int(text.replace(",", "")) for text in column.all_inner_texts()] == wanted
        assert table.locator("tfoot th").inner_text() == "all"
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "none" and column.all_inner_texts() == before
    page.close()


def test_a_link_of_the_contents_opens_its_section(browser, files):
    page = opened(browser, files, "demo-locnet")
    link = page.locator("nav a[href='#placement']")
    link.focus()
    page.keyboard.press("Enter")
    assert page.locator("details:has(> summary > #placement)").evaluate("e => e.open")
    assert page.locator("nav").bounding_box()["y"] == 0  # it stays on the screen
    assert page.locator("#placement").bounding_box()["y"] >= page.locator("nav").bounding_box()["height"]
    page.close()


def test_the_worst_are_clicked_through_by_keyboard(browser, files):
    page = opened(browser, files, "demo-locnet")
    page.locator(".thumbnails input").first.focus()
    page.keyboard.press("ArrowRight")
    assert [card.is_visible() for card in page.locator(".strip .card").all()[:3]] == [False, True, False]
    page.close()


OVERPRINTED = """() => {
  const found = [];
  for (const svg of document.querySelectorAll('svg')) {
    const texts = [...svg.querySelectorAll('text:not(.on)')].filter((t) => t.textContent.trim());
    const boxes = texts.map((t) => t.getBoundingClientRect());
    const frame = svg.getBoundingClientRect();
    boxes.forEach((a, i) => {
      if (!a.width) return;
      if (a.left < frame.left - 1.5 || a.right > frame.right + 1.5) found.push('outside: ' + texts[i].textContent);
      for (let j = i + 1; j < boxes.length; j++) {
        const b = boxes[j];
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (x > 1 && y > 3) found.push(texts[i].textContent + ' / ' + texts[j].textContent);
      }
    });
  }
  return found;
}"""


@pytest.mark.parametrize("name", ["demo-locnet", "demo-cae", "twenty"])
def test_no_label_is_printed_over_another(browser, files, name):
    page = opened(browser, files, name)
    page.evaluate(OPEN_ALL)
    assert page.evaluate(OVERPRINTED) == []
    page.close()


def test_print(browser, files):
    """Sections that are closed on the screen are printed, folds are not; no figure is split, no heading left alone."""
    page = opened(browser, files, "demo-locnet", width=703)  # A4 between its margins
    page.emulate_media(media="print")
    assert page.locator("figcaption", has_text="Training of the ANN").is_visible()
    assert not page.locator("figcaption", has_text="Epochs of train").is_visible()
    assert not page.locator("nav").is_visible()
    figures = page.evaluate(
        """() => [...document.querySelectorAll('figure, fieldset, tr')]
           .map((e) => [getComputedStyle(e).breakInside, e.getBoundingClientRect().height, e.textContent.slice(0, 60)])
           .filter(([, height]) => height)"""
    )
    assert len(figures) > 30
    split = [entry for entry in figures if entry[0] != "avoid" or entry[1] > A4_PX]
    assert split == [], "may be split between pages"
    heads = page.evaluate(
        """() => [...document.querySelectorAll('.section > summary, h3')].map((e) => getComputedStyle(e).breakAfter)"""
    )
    assert set(heads) == {"avoid"}
    printed = page.pdf(format="A4", print_background=True, prefer_css_page_size=False)
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", printed))
    assert 3 <= pages <= 12
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(browser, files, scheme):
    """Contrast of texts against the page: at least 4.5 (WCAG 2.1, 1.4.3)."""
    page = opened(browser, files, "demo-locnet", color_scheme=scheme)
    shown = page.evaluate(
        """() => { const style = (e) => getComputedStyle(e), rgb = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
          const ground = rgb(style(document.body).backgroundColor);
          return ['body', '.subtitle', 'nav a', '.facts dt', '.facts .good dd > strong', 'svg text.soft',
                  '.fold > summary'].map((s) => [s, document.querySelector(s)]).filter(([, e]) => e)
            .map(([s, e]) => [s, rgb(e.closest('svg') ? style(e).fill : style(e).color), ground]); }"""
    )

    def luminance(rgb):
        linear = [c / 12.92 if (c := v / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for v in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert len(shown) >= 6
    for selector, ink, ground in shown:
        light, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector
    assert (shown[0][2][0] < 60) == (scheme == "dark")
    page.close()
