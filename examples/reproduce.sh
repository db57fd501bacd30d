#!/usr/bin/env bash
# All eight stages for all folds on the challenge's data: expects data/train.csv,
# data/train_localizers.csv and data/series/. A run that was stopped goes on when this is run again.
#
#   examples/reproduce.sh [RECIPE] [FOLD]
#
# FOLD is `all` unless it is given; one fold is a tenth of the work.
set -euo pipefail
cd "$(dirname "$0")/.."
RECIPE=${1:-configs/convnext_base_dinov3.yaml}
FOLD=${2:-all}

# Exit code 4 says that series were rejected; the run itself is fine.
accept_rejected() { "$@" || [ $? -eq 4 ]; }

accept_rejected python preprocess_data.py --config "$RECIPE" --no_slices
python create_folds.py --config "$RECIPE"
python train_stage1.py --config "$RECIPE" --fold "$FOLD"
python eval_stage1.py --config "$RECIPE" --fold "$FOLD"
python extract_features.py --config "$RECIPE" --fold "$FOLD"
python train_stage2.py --config "$RECIPE" --fold "$FOLD"
python eval_stage2.py --config "$RECIPE" --fold "$FOLD"
accept_rejected python eval_end_to_end.py --config "$RECIPE" --fold "$FOLD"
