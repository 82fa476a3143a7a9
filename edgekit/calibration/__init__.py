"""Measure ranges once, for every target."""

if __name__ != "edgekit.calibration":
    raise ImportError("import it as edgekit.calibration; the name 'calibration' at the repository's root is a link")
