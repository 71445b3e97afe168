"""Pictures of a report as a browser shows it: 1280 and 420 pixels wide, light and dark, and printed.

    python tools/screenshots.py reports/cae/report.html reports/cae/screenshots

Needs Chromium (`apt-get install chromium`) and, for the printed pages, pdftoppm (`apt-get install poppler-utils`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

COLOURS = 160  # of the palette; with fewer the colours of small marks are lost
SCREEN = 800  # pixels of height
PATIENCE_MS = 180_000  # a busy machine is slow, not broken


def main(page: Path, folder: Path) -> None:
    """Write ``report-<width>-<scheme>.png`` and ``report-print-<n>.png`` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        for width in (1280, 420):
            for scheme in ("light", "dark"):
                view = browser.new_page(viewport={"width": width, "height": SCREEN}, color_scheme=scheme)
                view.set_default_timeout(PATIENCE_MS)
                view.goto(page.resolve().as_uri())
                view.screenshot(path=f"{scratch}/shot.png", full_page=True)
                _small(Path(scratch, "shot.png"), folder / f"report-{width}-{scheme}.png")
                view.close()
        view = browser.new_page()
        view.set_default_timeout(PATIENCE_MS)
        view.goto(page.resolve().as_uri())
        view.pdf(path=f"{scratch}/print.pdf", format="A4", print_background=True)
        browser.close()
        if shutil.which("pdftoppm") is None:
            print("no pdftoppm: the printed pages are not drawn")
            return
        subprocess.run(["pdftoppm", "-r", "60", "-png", f"{scratch}/print.pdf", f"{scratch}/page"], check=True)
        pages = [Image.open(path).convert("RGB") for path in sorted(Path(scratch).glob("page-*.png"))]
        width, height = pages[0].size
        sheet = Image.new("RGB", (4 * width, -(-len(pages) // 4) * height), "grey")
        for i, one in enumerate(pages):
            sheet.paste(one, (i % 4 * width, i // 4 * height))
        sheet.save(f"{scratch}/sheet.png")
        _small(Path(scratch, "sheet.png"), folder / "report-print.png")


def _small(source: Path, target: Path) -> None:
    Image.open(source).convert("RGB").quantize(COLOURS).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
