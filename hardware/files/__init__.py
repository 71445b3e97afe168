"""Files: written whole or not at all, read without trusting what they claim; once for `hardware` and `pipeline`."""

from cotrain.hardware.files.digests import arrays_digest, file_sha256, json_digest, sha256
from cotrain.hardware.files.reading import (
    Arrays,
    entries,
    one_line,
    parse_json,
    parse_npz,
    read_bytes,
    read_json,
    read_npz,
)
from cotrain.hardware.files.writing import (
    PathLike,
    cannot_write,
    json_bytes,
    npz_bytes,
    write_bytes,
    write_json,
    write_npz,
    write_text,
    writing,
)

__all__ = [
    "Arrays", "PathLike", "arrays_digest", "cannot_write", "entries", "file_sha256", "json_bytes", "json_digest",
    "npz_bytes", "one_line", "parse_json", "parse_npz", "read_bytes", "read_json", "read_npz", "sha256", "write_bytes",
    "write_json", "write_npz", "write_text", "writing",
]  # fmt: skip
