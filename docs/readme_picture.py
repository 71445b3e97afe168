"""Draws the README's picture from the committed reports: python docs/readme_picture.py (needs a Chromium).

The median test sample of LocNet and of the CAE, as the reports show it: what each model answers, over the picture.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "readme.png"
MODELS = {
    "constant": "best constant answer",
    "ann": "ANN, float",
    "loihi-converted": "converted, Loihi",
    "loihi-hybrid": "fine-tuned, Loihi",
}
ROWS = {
    "locnet": "LocNet: the box around an aeroplane (Caltech-101; IoU)",
    "cae": "CAE: the hippocampus in MRI slices (Decathlon; Dice of the volume)",
}
DRAWING = re.compile(r"(<svg [^>]*>\s*<title>([\w-]+) on ([^:<]+): \S+ ([\d.]+)</title>.*?</svg>)", re.S)
STYLE = """
body { font: 15px sans-serif; margin: 0; padding: 14px; width: 872px; background: #fff; color: #111 }
h2 { font-size: 15px; font-weight: 600; margin: 4px 0 6px } h2 ~ h2 { margin-top: 14px }
div { display: inline-block; width: 212px; margin-right: 6px; vertical-align: top } svg { width: 100%; display: block }
p { margin: 3px 0 0; font-size: 13px } b { float: right } .photo { image-rendering: pixelated }
path, rect { fill: none } .halo { stroke: #000; stroke-opacity: .5; stroke-width: 4 }
.truth { stroke: #ffd60a; stroke-width: 2; stroke-dasharray: 5 3 } .guess { stroke: #2f9bff; stroke-width: 2 }
i { font-style: normal; font-size: 13px; color: #444; display: block; margin-top: 10px }
"""


def row(name: str, title: str) -> str:
    """The drawings of one experiment's median sample, a model each."""
    folder = ROOT / "reports" / name
    cases = json.loads((folder / "report.json").read_text())["cases"]["cases"]
    (sample,) = [case["sample"] for case in cases if case["case"] == "median"]
    found = DRAWING.findall((folder / "report.html").read_text())
    if sample not in {of for _, _, of, _ in found}:
        raise SystemExit(f"{folder / 'report.html'} was written without its pictures; write it anew where the data lie")
    by_model = {model: (svg, score) for svg, model, of, score in found if of == sample}
    tiles = [
        f"<div>{by_model[model][0]}<p><b>{by_model[model][1]}</b>{words}</p></div>" for model, words in MODELS.items()
    ]
    return f"<h2>{title}</h2>{''.join(tiles)}"


def main() -> None:
    note = (
        "<i>The median test sample of each. Dashed yellow: truth. Blue: answer. Emulated, in the chip's integers.</i>"
    )
    body = "".join(row(name, title) for name, title in ROWS.items()) + note
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 300})
        page.set_content(f"<!DOCTYPE html><style>{STYLE}</style><body>{body}</body>")
        OUT.write_bytes(page.screenshot(full_page=True))
        browser.close()


if __name__ == "__main__":
    main()
