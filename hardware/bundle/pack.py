"""Make a bundle: emulate, preflight, and only then write."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Sequence, Tuple, Union

import numpy as np
from cotrain.hardware import terminal
from cotrain.hardware.bundle import archive, run
from cotrain.hardware.bundle.folder import (
    DESCRIPTION,
    EXPECTED,
    INPUTS,
    PARAMS,
    SUMMARY,
    Folder,
    npz_bytes,
    read_placement,
    sample_file,
)  # fmt: skip
from cotrain.hardware.bundle.source import closure
from cotrain.hardware.bundle.targets import EmulatorTarget
from cotrain.hardware.errors import InputError, MisfitError
from cotrain.hardware.files import json_bytes, write_bytes
from cotrain.hardware.preflight.check import check
from cotrain.hardware.preflight.report import Report

if TYPE_CHECKING:
    from cotrain.hardware.chip.limits import Board
    from cotrain.hardware.placement.cores import Network
    from cotrain.hardware.simulator.results import Stats

MAX_BYTES = 10_000_000  # what a lab takes by mail
TEXTS = ("README.md", "requirements.txt", "environment.sh", "LICENSE", "NOTICE.md")
# What runs in the lab; run.py itself is copied beside them.
_ROOTS = ("cotrain.hardware.bundle.session", "cotrain.hardware.bundle.board")


@dataclass(frozen=True)
class Submission:
    """What `pack` wrote."""

    path: Path
    digest: str
    n_bytes: int
    report: Report
    precompute: bool
    n_samples: int


def way_in(
    net: Network,
    board: Union[Board, str],
    dt_s: float,
    input_spikes_max: Optional[int] = None,
    stats: Optional[Stats] = None,
) -> Tuple[Report, bool]:
    """Preflight: how spikes get in and out of the board.

    Sending all of them in advance is faster (``precompute=True``), but takes a spike counter for each neuron that is
    read. Where that breaks a limit, SNIPs carry them step by step, with ``snip_max_spikes_per_step`` set to what the
    emulated run needs.

    Returns
    -------
    report : Report
        Of the way that fits; of the first one where none does.
    precompute : bool
    """
    first = check(net, board, stats=stats, input_spikes_max=input_spikes_max, precompute=True, dt_s=dt_s)
    if first.fits:
        return first, True
    by_step = partial(check, net, board, stats=stats, input_spikes_max=input_spikes_max, precompute=False, dt_s=dt_s)
    second = by_step()  # the first one knows no limit where it cannot be built
    limit = second.hardware_options.get("snip_max_spikes_per_step")
    if not second.fits and limit:
        second = by_step(snip_max_spikes_per_step=limit)
    return (second, False) if second.fits else (first, True)


def pack(
    out: Path,
    net: Network,
    *,
    experiment: str,
    builder: str,
    network: Dict[str, Any],
    params: Dict[str, np.ndarray],
    layers: Sequence[str],
    images: np.ndarray,
    names: Sequence[str],
    n_steps: int,
    readout_steps: int,
    board: Union[Board, str],
    packages: Sequence[str] = (),
    dt_s: float = 0.001,
    seed: int = 0,
    version: str = "",
    say: Callable[[str], None] = terminal.say,
) -> Submission:
    """Write ``out/<experiment>-<digest>.tar.gz``.

    Parameters
    ----------
    net : nengo.Network
        Placed (`hardware.partition`), without subnetworks; labels are unique. What `builder` makes of `network` and
        `params` has to be this network.
    builder : str
        "module:function"; see `hardware.bundle.folder.Folder.build`. The module travels with all that it imports from
        `packages` and from ``hardware``.
    layers : sequence of str
        Labels of the layers in order of depth; the first one runs on the host.
    images : (n_samples, size) float32
    board : Board or str

    Returns
    -------
    Submission

    Raises
    ------
    MisfitError
        The board would refuse or silently change it: every violation is printed, nothing is written.
    InputError
        The bundle is larger than 10 MB.
    """
    description = {
        "experiment": experiment, "builder": builder, "network": network, "layers": list(layers),
        "placement": read_placement(net), "board": getattr(board, "name", board), "dt_s": dt_s, "seed": seed,
        "n_steps": n_steps, "readout_steps": readout_steps,
    }  # fmt: skip
    files = {
        PARAMS: npz_bytes(params),
        INPUTS: npz_bytes({"images": np.asarray(images, np.float32), "names": np.array([str(n) for n in names])}),
    }
    expected, emulator = _expected({**files, DESCRIPTION: json_bytes(description)}, say)
    report, precompute = way_in(net, board, dt_s, emulator.input_spikes_max)
    if not report.fits:
        say(report.table())
        raise MisfitError(
            f"{experiment}: no bundle was written, because the board would fail: "
            f"{terminal.plural(len(report.violations), 'limit')} of {report.board} broken, listed above; make the "
            "network smaller or choose another board"
        )
    description.update(precompute=precompute, hardware_options=report.hardware_options)
    files.update(expected)
    files[DESCRIPTION] = json_bytes(description)
    files["preflight.json"] = json_bytes(report.to_json())
    files.update(_fixed_files(description, builder, packages, len(names)))
    files[run.MANIFEST], digest = archive.manifest_bytes(files, {"experiment": experiment, "version": version})
    name = f"{experiment}-{digest[:12]}"
    packed = archive.archive_bytes(files, name)
    if len(packed) >= MAX_BYTES:
        raise InputError(
            f"{experiment}: the bundle would take {len(packed) / 1e6:.1f} MB, the limit is {MAX_BYTES / 1e6:.0f} MB; "
            f"pack fewer than {len(names)} samples (--set submission.n_samples=N)"
        )
    path = out / f"{name}.tar.gz"
    write_bytes(path, packed)
    return Submission(path, digest, len(packed), report, precompute, len(names))


def _expected(files, say):
    """Run the bundle on the emulator, as the lab will: from its files."""
    folder = Folder(Path(), digest="", contents=files)
    emulator = EmulatorTarget(folder)
    records, totals = {}, dict.fromkeys(folder.layers, 0)
    try:
        for index in range(len(folder.names)):
            record = emulator.run(index)
            records[f"{EXPECTED}/{sample_file(index)}"] = npz_bytes(record)
            for name in totals:
                totals[name] += int(record[f"spikes/{name}"].sum())
    finally:
        emulator.close()
    n = len(folder.names)
    say(f"  {terminal.plural(n, 'sample')} emulated: {sum(totals.values()) / n:,.0f} spikes a sample, "
        f"at most {emulator.input_spikes_max:,} into the chip in one step")  # fmt: skip
    summary = {
        "n_samples": n,
        "input_spikes_max": emulator.input_spikes_max,
        "overflows": emulator.overflows,
        "layers": [{"name": name, "spikes": total, "spikes_per_sample": total / n} for name, total in totals.items()],
    }
    records[f"{EXPECTED}/{SUMMARY}"] = json_bytes(summary)
    return records, emulator


def _fixed_files(description, builder, packages, n_samples):
    """Source and texts."""
    files = {}
    for name in TEXTS:
        files[name] = (resources.files("cotrain.hardware.bundle") / "files" / name).read_bytes()
    options = description["hardware_options"]
    words = {
        "EXPERIMENT": description["experiment"],
        "BOARD": description["board"],
        "N_SAMPLES": n_samples,
        "N_STEPS": description["n_steps"],
        "N_CHIPS": options["n_chips"],
        "SNIP_SPIKES": options["snip_max_spikes_per_step"],
        "WAY": "sent in advance (precompute=True)" if description["precompute"] else "carried step by step by SNIPs",
    }
    readme = files["README.md"].decode()
    for word, value in words.items():
        readme = readme.replace(f"@{word}@", str(value))
    files["README.md"] = readme.encode()
    roots = (*_ROOTS, builder.partition(":")[0])
    for inside, path in closure(roots, ("cotrain.hardware", *packages)).items():
        files[inside] = path.read_bytes()
    files["run.py"] = Path(run.__file__).read_bytes()
    return files
