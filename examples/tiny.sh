#!/bin/sh
# All eight stages for all folds on a small data set, to see that they run; the scores mean nothing.
#
#   sh examples/tiny.sh [FOLDER]
#
# FOLDER holds series/<SeriesInstanceUID>/, train.csv and train_localizers.csv; without it 40
# synthetic series are made in demo/tiny. The results go to FOLDER/model/tiny. PYTHON names the
# interpreter (default: the one of make install).
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
if [ $# -gt 0 ]; then
    case $1 in /*) data=$1 ;; *) data=$OLDPWD/$1 ;; esac
else
    data=demo/tiny
    "$python" tools/make_demo_data.py --out_dir "$data" --series 40
fi

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
    stage "$script" --model_dir "$data/model" --fold all
done
echo "The reports: $data/model/tiny/all/report.html, and of each fold in fold-*/"
