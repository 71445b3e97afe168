"""Run this bundle:  python run.py --target loihi|emulator|reference [--limit N] [--resume]

This file checks the interpreter and every other file of the bundle before it imports any of them; so it needs nothing
but the standard library, and a syntax that an old Python can read far enough to say that it is too old. The work is
done in hardware/bundle/session.py.
"""

import hashlib
import json
import os
import sys

MANIFEST = "manifest.json"
PYTHONS = ((3, 8), (3, 13))  # oldest and newest; 3.8 is what NxSDK runs on


class DamagedBundle(ValueError):
    """The bundle is not what was packed; the message is one line that names the file."""


def check_python(version):
    """Raise DamagedBundle unless this interpreter can run the bundle."""
    if not PYTHONS[0] <= tuple(version[:2]) <= PYTHONS[1]:
        raise DamagedBundle(
            "this is Python %d.%d; the bundle needs Python 3.8 (3.9 to 3.13 run the emulator, too): "
            "use python3.8 run.py" % tuple(version[:2])
        )


def canonical(manifest):
    """The one way to write a manifest, as bytes: whatever differs from it was changed."""
    return (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode("ascii")


def digest_of(manifest):
    """sha256 of the manifest without its own digest."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(canonical(rest)).hexdigest()


def is_inside(name):
    """Whether a name with slashes stays in the folder that it is put into, on every system."""
    parts = name.split("/")
    return bool(name) and not any(p in ("", ".", "..") or set(p) & set("\\:\0") or len(p) > 200 for p in parts)


def read_manifest(data):
    """The manifest in `data` (bytes). Raises DamagedBundle if a bit of it changed."""
    try:
        manifest = json.loads(data.decode("ascii"))
        intact = canonical(manifest) == data and digest_of(manifest) == manifest["digest"]
        intact = intact and all(len(entry["sha256"]) == 64 for entry in manifest["files"].values())
        intact = intact and all(is_inside(name) for name in manifest["files"])
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError):  # RuntimeError: nested too deep
        intact = False
    if not intact:
        raise DamagedBundle("%s is damaged: it is not what was packed; unpack the archive again" % MANIFEST)
    return manifest


def check_files(folder, read=None):
    """Check every file against the manifest, and that no other module lies between them; return the manifest.

    `read(name)` gives the bytes of a file; it reads from `folder` by default. Raises DamagedBundle for the
    first wrong file.
    """

    def from_folder(name):
        with open(os.path.join(folder, *name.split("/")), "rb") as file:
            return file.read()

    read = read or from_folder
    manifest = read_manifest(_bytes(read, MANIFEST))
    for name in sorted(manifest["files"]):
        data = _bytes(read, name)
        entry = manifest["files"][name]
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise DamagedBundle(
                "%s is damaged: its sha256 is not the one in %s; unpack the archive again" % (name, MANIFEST)
            )
    return manifest


def _bytes(read, name):
    data = None
    try:
        data = read(name)
    except (OSError, KeyError):
        pass
    if data is None:  # not raised above: an old Python has no ``raise ... from None``
        raise DamagedBundle("%s is missing; unpack the archive again" % name)
    return data


def strangers(folder, manifest):
    """Modules in `folder` that are not part of the bundle and that Python would import in place of others."""
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(
            f
            for f in folders
            if f != "__pycache__" and not f.startswith(".") and not os.path.exists(os.path.join(where, f, "pyvenv.cfg"))
        )
        for file in sorted(files):
            name = os.path.relpath(os.path.join(where, file), folder).replace(os.sep, "/")
            if file.endswith((".py", ".so", ".pyd", ".pyc")) and name not in manifest["files"]:
                found.append(name)
    return found


def main(argv):
    """Check, then run. Exit status 0: every result is what is expected; 1: differences; 2: a line says what to mend."""
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        check_python(sys.version_info)
        manifest = check_files(folder)
        for name in strangers(folder, manifest):
            raise DamagedBundle("%s is not part of the bundle; move it elsewhere" % name)
    except DamagedBundle as error:
        sys.stderr.write("run.py: %s\n" % error)
        return 2
    sys.path.insert(0, folder)
    from cotrain.hardware.bundle.session import main as run

    return run(argv, folder, manifest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
