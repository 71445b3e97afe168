#!/usr/bin/env bash
# Write the lock files anew from pyproject.toml. Needs uv; users of the lock files need only pip.
set -euo pipefail
cd "$(dirname "$0")/.."
options=(--universal --generate-hashes --no-annotate --no-header --no-emit-index-url
         --no-emit-find-links --no-python-downloads --python-version 3.11)
uv pip compile "${options[@]}" --extra dev --extra docs --extra sweep --output-file requirements.lock pyproject.toml
# NengoDL is a source archive that asks for setuptools<64, which Python 3.12 cannot run. Every setuptools that still
# has pkg_resources builds it, so that one is installed first and the rest without build isolation.
grep '^setuptools==' requirements.lock | cut -d' ' -f1 |
  uv pip compile "${options[@]}" --output-file requirements-build.lock -
