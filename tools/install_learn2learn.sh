#!/bin/sh
# Install learn2learn 0.2.0, which the benchmark meta-speed compares with, for the given Python (default: .venv's).
# The C files among its released sources are of a Cython older than Python 3.11, so they are generated anew. What
# learn2learn asks for besides (gym, torchvision, qpth, gsutil…) is not needed for its MAML and is left out.
set -eu
python=${1:-.venv/bin/python}
CYTHON_FORCE_REGEN=1 "$python" -m pip install --quiet --no-deps --config-settings=--build-option=build_ext learn2learn==0.2.0
"$python" -c "from importlib.metadata import version; print('learn2learn', version('learn2learn'), 'is installed')"
