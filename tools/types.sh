#!/bin/sh
# Type check. mypy finds a package by its folder, and these folders are named hardware/ and pipeline/ while the packages
# are cotrain.hardware and cotrain.pipeline: links give it folders of those names.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
links="$top/.venv/types"
mkdir -p "$links/cotrain"
for name in hardware pipeline; do ln -sfn "$top/$name" "$links/cotrain/$name"; done
cd "$links"
exec "$top/.venv/bin/python" -m mypy --config-file "$top/pyproject.toml" \
  -p cotrain.hardware -p cotrain.pipeline "$@"
