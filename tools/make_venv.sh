#!/usr/bin/env bash
# Make or bring up to date .venv from the lock files; quick where nothing has changed.
#
# PYTHON (environment) chooses the interpreter. Exit status 2 and one line where it cannot be used.
set -euo pipefail
cd "$(dirname "$0")/.."

in_range() {  # Python 3.11 to 3.13: TensorFlow 2.21 is built for those
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}
fail() { echo "setup: $1" >&2; exit 2; }

if [ -n "${PYTHON:-}" ]; then
  command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON is not there: name a Python 3.11, 3.12 or 3.13"
  in_range "$PYTHON" || fail "PYTHON=$PYTHON is $("$PYTHON" --version 2>&1 | head -n 1); use Python 3.11, 3.12 or 3.13"
  python=$PYTHON
else
  python=
  for candidate in python3.11 python3.12 python3.13 python3; do
    if in_range "$candidate"; then python=$candidate; break; fi
  done
  [ -n "$python" ] || fail "no Python 3.11, 3.12 or 3.13 found: install python3.11, or name one with PYTHON=/path/to/python3.11"
fi
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')

# What .venv was made from, byte for byte. Without PYTHON= an .venv of any good Python stays.
venv_version=$(.venv/bin/python -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || true)
inputs() { cat requirements-build.lock requirements.lock pyproject.toml; }
if [ -f .venv/.stamp ] && inputs | cmp -s - .venv/.stamp &&
   [ -n "$venv_version" ] && { [ -z "${PYTHON:-}" ] || [ "$version" = "$venv_version" ]; }; then
  exit 0
fi

"$python" -c 'import ensurepip, venv' 2>/dev/null ||
  fail "$python cannot make virtual environments: apt-get install python${version%.*}-venv"
rm -f .venv/.stamp
echo "setup: .venv with Python $version"
if [ "$version" = "$venv_version" ]; then clear=; else clear=--clear; fi
"$python" -m venv $clear .venv

pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }
pip install --quiet --require-hashes -r requirements-build.lock
echo "setup: installing the packages of requirements.lock"
# Large downloads are worth a line; the rest is quick
pip install --require-hashes --no-deps --no-build-isolation -r requirements.lock |
  awk '/^ *Downloading .*\(([0-9][0-9]+\.[0-9]) MB\)/ { sub(/^ *Downloading /, ""); print "setup: downloading " $0 }
       /^Installing collected packages/ { print "setup: unpacking" } { fflush() }'
PYTHONWARNINGS=ignore pip install --quiet --no-deps --no-build-isolation --editable .
inputs > .venv/.stamp

# Inner loops are compiled when they are first run, and kept: by a demo that is too small to be of use, and not while
# somebody waits for a result
echo "setup: compiling, half a minute"
small=(train.epochs=1 finetune.epochs=1 finetune.n_steps=8 finetune.readout_steps=4 data.n_groups=12 deploy.limit=12
  deploy.n_bootstrap=10)
.venv/bin/python -m cotrain.pipeline train demo-cae --until deploy --quiet --runs .venv/compiling \
  "${small[@]/#/--set=}" || echo "setup: that failed; commands will compile what they need"
rm -rf .venv/compiling
echo "setup: done"
