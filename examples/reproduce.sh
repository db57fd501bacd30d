#!/bin/sh
# All eight stages for all folds on the challenge's data: expects train.csv, train_localizers.csv and
# series/ in the data folder. A run that was stopped resumes when this is run again.
#
#   sh examples/reproduce.sh [RECIPE [FOLD [DATA [MODEL]]]]
#
# RECIPE is a file (default: the recipe of the challenge's 8th place); FOLD is `all` unless it is
# given, and one fold is a tenth of the work. DATA and MODEL are folders, by default data/ and model/
# of this checkout. PYTHON names the interpreter (default: the one of make install).
set -eu
here=$(pwd)
cd "$(dirname "$0")/.."

# Names are as seen from the folder in which this was started.
named() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s/%s' "$here" "$1" ;; esac }

python=${PYTHON:-$(pwd)/.venv/bin/python}
recipe=${1:+$(named "$1")}
recipe=${recipe:-configs/convnext_base_dinov3.yaml}
fold=${2:-all}
data=${3:+$(named "$3")}
data=${data:-data}
model=${4:+$(named "$4")}
model=${model:-model}

# Exit code 4 says that series were rejected; the run itself is fine.
accept_rejected() { "$@" || test $? -eq 4; }

for script in preprocess_data create_folds; do
    accept_rejected "$python" "$script.py" --config "$recipe" --data_dir "$data"
done
for script in train_stage1 eval_stage1 extract_features train_stage2 eval_stage2 eval_end_to_end; do
    accept_rejected "$python" "$script.py" --config "$recipe" --data_dir "$data" \
        --model_dir "$model" --fold "$fold"
done
