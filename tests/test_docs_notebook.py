"""The notebook of the documentation runs, and shows what it says it shows."""

import re
from pathlib import Path

import nbclient
import nbformat

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "notebook.ipynb"


def shown(cell) -> str:
    """What a cell printed or gave, as text and HTML."""
    found = []
    for output in cell.get("outputs", []):
        found += [output.get("text", "")] + [str(text) for text in output.get("data", {}).values()]
    return "\n".join(found)


def test_it_runs(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    before = [shown(cell) for cell in notebook.cells]
    client = nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3")
    client.execute(cwd=str(tmp_path))  # raises where a cell does
    text = "\n".join(map(shown, notebook.cells))
    assert "loihi-hybrid" in text and "train.epochs is -3" in text and "violations: none" in text
    assert text.count("<Figure size") == 2
    (page,) = tmp_path.glob("runs-of-notebook/*/report/report.html")
    assert page.stat().st_size > 10_000
    # the committed outputs are those of such a run: the same rows of the same comparison
    rows = re.compile(r"<td>((?:loihi-)?\w+)</td>")
    assert set(rows.findall("\n".join(before))) == set(rows.findall(text)) != set()
