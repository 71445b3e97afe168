"""Ways to spoil a file: bytes, text, trees of JSON, and what is packed within it."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile

Seeds = list[tuple[str, bytes]]  # names, of which the ending counts, and bytes

NUMBERS = (
    b"0",
    b"-1",
    b"nan",
    b"inf",
    b"-inf",
    b"1e999",
    b"1e-400",
    b"99999999999999999999",
    b"0x10",
    b"1_0",
    b"1.5",
    b"true",
    b"null",
    b"''",
    b"[]",
    b"{}",
    b"9" * 5000,
    b"-0",
    b"1e308",
    b"2147483648",
    b"",
    b"\xff",
    b"\x00",
)
WORDS = (
    b"\n",
    b"\r",
    b"\t",
    b" ",
    b",",
    b";",
    b'"',
    b"'",
    b"[",
    b"]",
    b"{",
    b"}",
    b"<",
    b">",
    b"&",
    b"=",
    b"#",
    b"\\",
    b"/",
    b"../",
    b"\xc3\xa9",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\x1b[2J",
    b"%s",
    b"[" * 3000,
    b"<a>" * 3000,
)
VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**30,
    0.5,
    -1.5,
    1e308,
    1e-320,
    "",
    "x",
    "..",
    "\x00",
    "é\n",
    "1",
    "\u202e",
    "a" * 5000,
    [],
    [[]],
    {},
    {"": {}},
    [None],
    [1, 2, 3],
    [0.1] * 7,
    {"a": 1},
)


def spoil_bytes(data: bytes, draw: random.Random) -> bytes:
    """Flip, overwrite, cut, repeat, or put in: one to four times."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if not out:
            break
        at = draw.randrange(len(out)) if draw.random() < 0.6 else draw.randrange(min(len(out), 160))
        kind = draw.randrange(7)
        if kind == 0:
            out[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            out[at] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
        elif kind == 2:
            word = draw.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, len(out), draw.randrange(2**32)))
            size = draw.choice((2, 4, 8))
            out[at : at + size] = (word % 256**size).to_bytes(size, draw.choice(("little", "big")))
        elif kind == 3:
            del out[at:]
        elif kind == 4:
            del out[at : at + draw.randrange(1, 64)]
        elif kind == 5:
            out[at:at] = out[at : at + draw.randrange(1, 64)]
        else:
            out[at:at] = draw.choice((b"\0" * 8, b"\xff" * 8, draw.randbytes(8)))
    return bytes(out)


def spoil_text(data: bytes, draw: random.Random) -> bytes:
    """Put other numbers and signs into a text, swap its lines, or spoil its bytes."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        kind = draw.randrange(6)
        if kind == 0:
            return spoil_bytes(data, draw)
        at = draw.randrange(len(data) + 1)
        if kind == 1:
            data = data[:at] + draw.choice(WORDS) + data[at:]
        elif kind in (2, 3):
            start, end = _number(data, at)
            data = data[:start] + draw.choice(NUMBERS) + data[end:]
        elif kind == 4:
            lines = data.split(b"\n")
            a, b = draw.randrange(len(lines)), draw.randrange(len(lines))
            lines[a], lines[b] = (lines[b], lines[a]) if draw.random() < 0.5 else (lines[b], lines[b])
            data = b"\n".join(lines)
        else:
            end = min(len(data), at + draw.randrange(1, 40))
            data = data[:at] + data[end:]
    return data


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Where the number stands that comes next."""
    digits = b"0123456789.-+e"
    start = next((i for i in range(at, len(data)) if data[i] in digits[:10]), at)
    end = start
    while end < len(data) and data[end] in digits:
        end += 1
    return start, end


def spoil_tree(tree, draw: random.Random):
    """Put another value somewhere into a tree of JSON, take an entry away, or call it otherwise."""
    tree = json.loads(json.dumps(tree))
    for _ in range(draw.choice((1, 1, 2))):
        places = list(_places(tree))
        if not places:
            return draw.choice(VALUES)
        parent, key = draw.choice(places)
        kind = draw.randrange(6)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[draw.choice(("", "x", "é", "..", "0", "a" * 300))] = parent.pop(key)
        elif kind == 2 and isinstance(parent, list):
            parent.extend([parent[key]] * draw.choice((1, 30)))
        elif kind == 3:
            other, at = draw.choice(places)
            parent[key] = json.loads(json.dumps(other[at])) if _has(other, at) else None
        else:
            parent[key] = draw.choice(VALUES)
    return tree


def _has(parent, key) -> bool:
    return key in parent if isinstance(parent, dict) else key < len(parent)


def _places(tree):
    todo = [tree]
    while todo:
        here = todo.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()
        for key in keys:
            yield here, key
            if isinstance(here[key], (dict, list)):
                todo.append(here[key])


def spoil_json(data: bytes, draw: random.Random) -> bytes:
    """As a tree, mostly; else as a text."""
    if draw.random() < 0.25:
        return spoil_text(data, draw)
    return json.dumps(spoil_tree(json.loads(data), draw)).encode()


def spoil_gzip(data: bytes, draw: random.Random) -> bytes:
    """The stream, or what is in it."""
    if draw.random() < 0.4:
        return spoil_bytes(data, draw)
    return gzip.compress(spoil_bytes(gzip.decompress(data), draw), 1, mtime=0)


def spoil_zip(data: bytes, draw: random.Random, inner=None) -> bytes:
    """The archive, or a member of it, with its checksum as it should be."""
    if draw.random() < 0.4:
        return spoil_bytes(data, draw)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(sorted(members))
    members[name] = (spoil_json if name.endswith(".json") else inner or spoil_bytes)(members[name], draw)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for key, value in members.items():
            if draw.random() > 0.02:
                archive.writestr(draw.choice((key, key, key, key + "x")) if draw.random() < 0.05 else key, value)
    return buffer.getvalue()


def spoil_volume(data: bytes, draw: random.Random) -> bytes:
    return spoil_gzip(data, draw) if data[:2] == b"\x1f\x8b" else spoil_bytes(data, draw)
