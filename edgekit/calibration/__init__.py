"""Measure ranges once, for every target.

``open_samples`` reads the user's data, ``collect`` streams it through the tapped model,
``choose_ranges`` picks each tensor's range by a method of ``OBSERVERS``, and the doctor
says in words what is wrong with the samples. docs/calibration.md tells it with examples.
"""

if __name__ != "edgekit.calibration":
    raise ImportError("import it as edgekit.calibration; 'calibration' at the root is a link")

from edgekit.calibration.observers import OBSERVERS, choose_ranges

__all__ = ["OBSERVERS", "choose_ranges"]
