"""How large a bundle may be; a bundle comes from anywhere, and a device has little memory.

Generous for real models (the largest vision network here is 0.6 GB), small enough that a
hostile file is refused before it costs memory. docs/bundle.md lists them.
"""

from __future__ import annotations

MANIFEST_NAME = "manifest.json"
FORMAT = "edgekit"
SCHEMA_VERSION = 1

MIB = 1024 * 1024

MAX_MANIFEST_BYTES = 4 * MIB
"""The labels are its largest part; 21,000 of ImageNet take 0.5 MB."""

MAX_MANIFEST_DEPTH = 64
MAX_FILES = 4096
MAX_FILE_BYTES = 16 * 1024 * MIB
MAX_TOTAL_BYTES = 64 * 1024 * MIB
MAX_GOLDEN_BYTES = 1024 * MIB
"""All goldens together: they are read into memory at once."""

MAX_DIRECTORY_BYTES = 4 * MIB
"""Largest single read of zip structure: 4096 entries of a 240-letter path take 1.2 MB."""

MAX_RATIO = 100
"""Most that a compressed entry may grow; weights and JSON stay under 20."""

MAX_PATH_LENGTH = 240
MAX_PATH_DEPTH = 8

CHUNK_BYTES = MIB
