"""The example that the repository ships, and one conversion of it for many tests."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples" / "digits"
MODEL = DIGITS / "digits.onnx"
LABELS = DIGITS / "labels.txt"
PICTURE = DIGITS / "seven.png"
PREPROCESS = "letterbox,gray,scale=1/255,mean=0.3,std=0.37"  # as the model was trained with
