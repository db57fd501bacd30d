"""Predict one series or a folder of series with a trained run, see src/predict.py.

python tools/predict.py --model model/demo --series_dir incoming --out_dir results --report
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from src.surroundings import make_safe

if __name__ == "__main__":
    make_safe()  # before the imports that take seconds

from src.predict import command

if __name__ == "__main__":
    command()
