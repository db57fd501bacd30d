#!/bin/sh
# All eight stages on labels of one's own, from making the data to the report.
#
#   sh examples/own_labels/run.sh [FOLDER]
#
# FOLDER (default: demo/own_labels) gets the data, if it is not there, and the results in model/.
# PYTHON names the interpreter (default: the one of make install).
set -eu
here=$(pwd)
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
folder=${1:-demo/own_labels}
case ${1:-/} in /*) ;; *) folder=$here/$1 ;; esac

recipe=examples/own_labels/recipe.yaml
[ -e "$folder" ] || "$python" examples/own_labels/make_data.py "$folder"
for script in preprocess_data create_folds
do
    "$python" "$script.py" --config "$recipe" --data_dir "$folder"
done
for script in train_stage1 eval_stage1 extract_features train_stage2 eval_stage2 eval_end_to_end
do
    "$python" "$script.py" --config "$recipe" --data_dir "$folder" \
        --model_dir "$folder/model" --run own_labels
done
echo "The report: $folder/model/own_labels/fold-0/report.html"
