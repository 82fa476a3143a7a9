"""Write a MiniFASNet's PyTorch file as ONNX, without PyTorch.

    python scripts/minifasnet_to_onnx.py 2.7_80x80_MiniFASNetV2.pth minifasnet-v2.onnx

The two files of minivision-ai's Silent-Face-Anti-Spoofing (Apache-2.0) are read:
2.7_80x80_MiniFASNetV2.pth and 4_0_0_80x80_MiniFASNetV1SE.pth.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import onnx
from networks.minifasnet import trained_minifasnet


def main() -> None:
    """Read one file, write the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, metavar="FILE.pth")
    parser.add_argument("output", type=Path, metavar="FILE.onnx")
    arguments = parser.parse_args()
    onnx.save(trained_minifasnet(arguments.source), arguments.output)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
