#!/bin/sh
# All eight stages on a small data set, to see that they run; the scores mean nothing.
#
#   sh examples/tiny.sh FOLDER
#
# FOLDER holds series/<SeriesInstanceUID>/, train.csv and train_localizers.csv. The results go to
# FOLDER/model/tiny. PYTHON names the interpreter (default: the one of make install).
set -eu
cd "$(dirname "$0")/.."
data=${1:?give the folder that holds series/, train.csv and train_localizers.csv}
case $data in /*) ;; *) data=$OLDPWD/$data ;; esac
python=${PYTHON:-.venv/bin/python}

# Exit code 4 says that some series were rejected; the run itself is fine.
accept_rejected() { "$@" || test $? -eq 4; }

stage() {
    script=$1
    shift
    accept_rejected "$python" "$script.py" --config configs/tiny.yaml --data_dir "$data" "$@"
}

stage preprocess_data
stage create_folds
for script in train_stage1 eval_stage1 extract_features train_stage2 eval_stage2 eval_end_to_end
do
    stage "$script" --model_dir "$data/model"
done
echo "The report: $data/model/tiny/fold-0/report.html"
