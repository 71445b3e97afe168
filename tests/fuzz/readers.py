"""Every reader of bytes that come from elsewhere: whole files, how they are spoilt, and how they are read."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzz import data_files as data
from fuzz import run_files as runs
from fuzz.spoil import Seeds, spoil_bytes, spoil_json, spoil_text, spoil_volume, spoil_zip


@dataclass(frozen=True)
class Reader:
    """A row of the table.

    `seeds` makes whole files; it is given a folder in which `prepare` has put what the reader needs besides. The spoilt
    file lies in that folder, under its name, when it is read.
    """

    name: str
    n: int  # inputs of the long run
    seeds: Callable[[Path], Seeds]
    read: Callable[[Path], object]
    spoil: Callable[[bytes, random.Random], bytes] = spoil_bytes
    prepare: Callable[[Path], None] = lambda folder: folder.mkdir()


READERS = {
    reader.name: reader
    for reader in (
        Reader("pictures", 3400, data.pictures, data.read_picture),
        Reader("masks", 1700, data.label_images, data.read_mask),
        Reader("mat", 2400, data.mats, data.read_mat),
        Reader("nifti", 2000, data.volumes, data.read_volume, spoil_volume),
        Reader("coco", 1200, data.cocos, data.read_boxes, spoil_json, data.three_pictures),
        Reader("csv", 900, data.csvs, data.read_boxes, spoil_text, data.three_pictures),
        Reader("voc", 900, data.vocs, data.read_boxes, spoil_text, data.three_pictures),
        Reader("yolo", 800, data.yolos, data.read_boxes, spoil_text, data.three_pictures),
        Reader("idx", 600, data.idxs, data.read_classes, spoil_volume),
        Reader("cifar", 300, data.cifars, data.read_classes),
        Reader("volume-json", 500, data.volume_jsons, data.read_volume_folder, spoil_json, data.two_volumes),
        Reader("manifest", 900, runs.manifests, runs.read_manifest, runs.spoil_manifest),
        Reader("counts", 600, runs.counts_files, runs.read_counts, spoil_json),
        Reader("bundle", 700, runs.bundles, runs.read_bundle, runs.spoil_bundle),
        Reader("results", 500, runs.results, runs.read_result, runs.spoil_result),
        Reader("toml", 1500, runs.tomls, runs.read_toml, spoil_text),
        Reader("sweep", 600, runs.sweeps, runs.read_sweep, spoil_text),
        Reader("npz", 1500, runs.npzs, runs.read_npz, spoil_zip),
        Reader("program", 500, runs.programs, runs.read_program, spoil_zip),
        Reader("checkpoint", 300, runs.checkpoints, runs.read_checkpoint, spoil_zip),
        Reader("keras", 900, runs.keras_models, runs.read_model, runs.spoil_model),
        Reader("onnx", 800, runs.onnx_models, runs.read_model),
        Reader("extras", 150, runs.extras, runs.read_report, spoil_json, runs.made_run),
    )
}
