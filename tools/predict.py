"""Predict one series or a folder of series with a trained run, see stages/predict.py.

python tools/predict.py --model model/demo --series_dir incoming --out_dir results --report
"""

from intracranial.program import run_script

if __name__ == "__main__":
    run_script("predict")
