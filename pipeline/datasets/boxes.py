"""Pictures with a box each, from labels in the formats that people have (`boxfiles`)."""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from cotrain.hardware.errors import InputError

from .base import (
    OWN,
    SPLITS,
    Dataset,
    Rejection,
    Unusable,
    check_image_shape,
    need_folder,
    need_memory,
    need_samples,
    refuse_shared,
)
from .boxfiles import read_labels
from .listing import files_by_stem, honoured, split_of_path
from .marking import Marking
from .pictures import ENDINGS, Picture, read_picture

# Labels count from 0 or 1 and name the edge or the pixel at it, so a box may stick out by one pixel, which is cut off.
SLACK_PIXELS = 1


def load(
    path: str | Path,
    labels: str | Path = "",
    *,
    image_shape: tuple[int, int],
    channels: int = 1,
    invert: bool = False,
    category: str = "",
    seed: int = 0,
    name: str = "boxes",
) -> Dataset:
    """Read pictures and their boxes.

    Where a picture has several objects of the category its largest is the target; `notes` say in how many that was so,
    and how many pictures have none and are not used.

    Parameters
    ----------
    path : Path
        Folder of pictures.
    labels : Path
        As in `boxfiles.read_labels`; by default in `path` too.
    image_shape : (height, width)
        Pictures are resized to it without regard to their aspect ratio, so that boxes are fractions of them.
    channels : {1, 3}
    invert : bool
        1 - pixel.
    category : str
        Which objects; may be empty where the labels have one kind.
    seed : int
        Seed of the split, if the data come without.
    name : str

    Raises
    ------
    MissingError, InputError, CorruptError
        One line that names the file and the reason.
    """
    shape, path = check_image_shape(image_shape), Path(path)
    need_folder(path, "pictures", OWN)
    marked, where, notes = read_labels(Path(labels) if labels else path, path)
    pictures = files_by_stem(path, ENDINGS, deep=True)
    need_memory(len(pictures), shape, channels, name)
    finder = _Finder(path, pictures)
    category = _choose(category, marked, labels or path)
    images, boxes, names, splits, rejected = [], [], [], [], []
    n_several = n_none = n_cut = n_coarse = 0
    seen: dict[Path, Marking] = {}
    for one in marked:
        mine = [box for kind, box in one.objects if kind == category]
        file, sample = None, one.image
        try:
            file = finder.find(one.image, one.split, one.also)
            sample = file.relative_to(path).with_suffix("").as_posix()
            if file in seen:
                _refuse_twice(file, seen[file], one)
            seen[file] = one
            if one.problem:
                raise Unusable(one.problem)
            if not mine:
                n_none += 1
                continue
            picture = read_picture(file, shape, channels, invert)
            found = [as_fractions(box, one, picture) for box in mine]
        except Unusable as reason:
            blamed = file if one.problem == "" and file else one.source
            rejected.append(Rejection(sample, _relative(blamed, path), str(reason)))
            continue
        areas = [(y1 - y0) * (x1 - x0) for (y0, x0, y1, x1), _ in found]
        box, was_cut = found[int(np.argmax(areas))]
        n_several, n_cut, n_coarse = n_several + (len(mine) > 1), n_cut + was_cut, n_coarse + picture.coarse
        images.append(picture.image)
        boxes.append(box)
        names.append(sample)
        splits.append(one.split or split_of_path(sample)[0])
    holds = f"pictures and boxes of {category}"
    need_samples(len(pictures) + len(marked), len(images), path, holds, rejected)
    n_unmarked = len(set(pictures.values()) - set(seen))
    for n, text in (
        (n_several, f"picture(s) have several objects of {category}; the largest is the target"),
        (n_none, f"picture(s) have no {category} and are not used"),
        (n_unmarked, "picture(s) of the folder are not in the labels and are not used"),
        (n_cut, f"box(es) stuck out of their picture by up to {SLACK_PIXELS} pixel, which was cut off"),
        (n_coarse, "picture(s) have 16 bits a colour, of which the upper 8 were read"),
    ):
        if n:
            notes.append(f"{n} {text}")
    groups = np.array(names)
    split, keep = honoured(groups, splits, seed, where, notes)
    stack = np.stack(images)
    if any(splits):
        refuse_shared(stack, groups, split, name)
    data = Dataset(
        name=name,
        task="boxes",
        images=stack,
        targets=np.array(boxes, dtype=np.float32),
        names=groups,
        groups=groups,
        split=np.where(keep, split, "train"),
        rejected=tuple(rejected),
        class_names=(category,),
        inverted=invert,
        notes=tuple(notes),
    )
    return data if keep.all() else data.select(keep)


def as_fractions(
    box: tuple[float, float, float, float], marked: Marking, picture: Picture
) -> tuple[tuple[float, float, float, float], bool]:
    """A box as fractions of its picture, and whether it was cut at the edge.

    Raises
    ------
    Unusable
        It has no area or is not inside the picture, or the labels are for a picture of another size.
    """
    height, width = picture.size
    if marked.size and marked.size != picture.size:
        lying = "; its EXIF orientation turns it, and the labels are for the picture as it is stored"
        raise Unusable(
            f"the labels are for {marked.size[0]} x {marked.size[1]} pixels, the picture has {height} x {width}"
            + (lying if picture.turned and marked.size == (width, height) else "")
        )
    unit = (1.0, 1.0) if marked.fractions else (height, width)
    y0, x0, y1, x1 = box
    text = f"[y0, x0, y1, x1] = [{y0:g}, {x0:g}, {y1:g}, {x1:g}]"
    if not np.isfinite(box).all():
        raise Unusable(f"the box {text} holds NaN or infinity")
    if y1 <= y0 or x1 <= x0:
        raise Unusable(f"the box has no area: {text}")
    fractions = np.array([y0 / unit[0], x0 / unit[1], y1 / unit[0], x1 / unit[1]])
    slack = SLACK_PIXELS * (1 + 1e-9) / np.array([height, width])
    if (fractions[:2] < -slack).any() or (fractions[2:] > 1 + slack).any():
        raise Unusable(f"the box {text} is not inside its image of {height} x {width} pixels")
    inside = np.clip(fractions, 0, 1)
    if not (inside[:2] < inside[2:]).all():
        raise Unusable(f"the box has no area inside its image: {text}")
    return tuple(inside.tolist()), bool(np.abs(inside - fractions).max() > 1e-6)


class _Finder:
    """The file of each marked picture."""

    def __init__(self, folder: Path, pictures: dict[str, Path]):
        self.folder = folder
        self.by_stem = pictures
        self.by_file = {file.relative_to(folder).as_posix(): file for file in pictures.values()}
        self.by_rest: dict[tuple[str | None, str], list[Path]] = {}
        for stem, file in pictures.items():
            self.by_rest.setdefault(split_of_path(stem), []).append(file)

    def find(self, image: str, split: str | None, also: str = "") -> Path:
        """The picture of this name, or else of the other one; raises `Unusable` where there is none."""
        for name in (image, also):
            file = self._find(name.replace("\\", "/"), split) if name else None
            if file:
                return file
        raise Unusable("the image is missing")

    def _find(self, name: str, split: str | None) -> Path | None:
        parts = PurePosixPath(name).parts
        if ".." in parts or PurePosixPath(name).is_absolute() or "\0" in name:
            folder = self.folder.resolve()
            if ".." in parts or "\0" in name or not Path(name).is_relative_to(folder):
                raise Unusable(f"the labels name {name[:80]!r}, which is outside the folder of pictures")
            name = Path(name).relative_to(folder).as_posix()
        if name in self.by_file:
            return self.by_file[name]
        stem = _stem(name)
        if name == stem and stem in self.by_stem:  # VOC and YOLO, which go by the stem
            return self.by_stem[stem]
        # The same file in the folder of a split or of images: train/images/a.jpg for train/labels/a.txt.
        named, rest = split_of_path(stem)
        places = [(split or named, rest), (None, rest), (None, rest.rpartition("/")[2])]
        if split is None and named is None:
            places += [(part, rest) for part in SPLITS]
        for key in places:
            found = self.by_rest.get(key, [])
            if name != stem:
                found = [file for file in found if file.name == PurePosixPath(name).name]
            if len(found) == 1:
                return found[0]
        return None


def _stem(name: str) -> str:
    """Without the ending of a picture."""
    ending = next((e for e in sorted(ENDINGS, key=len, reverse=True) if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)]


def _refuse_twice(file: Path, first: Marking, second: Marking) -> None:
    if first.split != second.split:
        raise InputError(
            f"{file.name} is in two splits, {first.split} ({first.source.name}) and {second.split} "
            f"({second.source.name}): what is tested must not be trained on"
        )
    raise InputError(f"{file.name} is marked twice, in {first.source.name} and {second.source.name}; remove one")


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.as_posix()


def _choose(category: str, marked: list[Marking], labels: str | Path) -> str:
    """The category that is asked for, or the only one."""
    counts = Counter(kind for one in marked for kind, _ in one.objects)
    known = ", ".join(f"{kind} ({n})" for kind, n in counts.most_common(20)) + (", ..." if len(counts) > 20 else "")
    if not counts:
        problem = next((f": {m.source.name}: {m.problem}" for m in marked if m.problem), "")
        raise InputError(
            f"{labels} marks no object{problem}; expected boxes in a COCO .json, .csv, VOC .xml or YOLO .txt"
        )
    if category:
        if category not in counts:
            near = difflib.get_close_matches(category, counts, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise InputError(f"data.category is {category!r}{hint}: {labels} has {known}")
        return category
    if len(counts) > 1:
        raise InputError(f"{labels} has several kinds of object: set data.category to one of {known}")
    return next(iter(counts))
