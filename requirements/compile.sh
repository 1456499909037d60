#!/usr/bin/env bash
# Writes the hashed locks of the Python that runs it: requirements/compile.sh python3.11 (needs pip-tools there).
#   pyXY.txt        what tsad and its tests need
#   bench-pyXY.txt  what only `make bench` needs on top
# torch is pinned in pyproject.toml and installed first, unhashed (a CPU or a CUDA build, whichever pip is set up for);
# nvidia-nccl-cu12 or -cu13 is what xgboost declares for several GPUs and nothing here uses.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
tag=$("$python" -c 'import sys; print("py%d%d" % sys.version_info[:2])')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

wanted() { # wanted GROUP...: the ranges of pyproject.toml, one a line, without torch
  "$python" - "$@" <<'PY'
import re, sys, tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
groups = {"run": project["dependencies"], "build": ["setuptools>=77"], **project["optional-dependencies"]}
lines = [line for group in sys.argv[1:] for line in groups[group]]
print("\n".join(line for line in lines if not re.match(r"torch\b", line)))
PY
}

compile() { # compile OUTPUT ARGUMENT...
  local output=$1
  shift
  "$python" -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --output-file "$output" "$@"
}

drop() { # drop FILE PATTERN...: takes the packages so named and their hashes out of a lock
  "$python" - "$@" <<'PY'
import fnmatch, pathlib, re, sys
path, patterns = pathlib.Path(sys.argv[1]), sys.argv[2:]
entries = re.split(r"^(?=[A-Za-z0-9])", path.read_text(), flags=re.M)
path.write_text("".join(
    entry for entry in entries if not any(fnmatch.fnmatch(entry.partition("==")[0], pattern) for pattern in patterns)
))
PY
}

lock="requirements/$tag.txt"
wanted run test build >"$work/main.in"
compile "$lock" "$work/main.in"
drop "$lock" "nvidia-nccl-cu*"

grep -oE '^[A-Za-z0-9._-]+==[^ ;\\]+' "$lock" >"$work/main.pins"
wanted bench >"$work/bench.in"
compile "requirements/bench-$tag.txt" --constraint "$work/main.pins" "$work/bench.in"
drop "requirements/bench-$tag.txt" $(sed 's/==.*//' "$work/main.pins")
