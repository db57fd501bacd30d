"""Predict one series or a folder of series with a trained run, see stages/predict.py.

python tools/predict.py --model model/demo --series_dir incoming --out_dir results --report
"""

from intracranial.surroundings import make_safe

if __name__ == "__main__":
    make_safe()  # before the imports that take seconds

from intracranial.stages.predict import command

if __name__ == "__main__":
    command()
