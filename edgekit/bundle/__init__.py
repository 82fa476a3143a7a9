"""One model for every target, with the proof that it is right: a folder or one zip file.

``Bundle.open`` reads, ``write_bundle`` writes. docs/bundle.md tells the schema.

To add a fact to the manifest: a field in ``manifest.py`` (or a record in ``records.py``)
with its line in ``to_json`` and ``from_bytes``, and a line in docs/bundle.md. Readers ignore
keys that they do not know; where ignoring it would be wrong, raise ``SCHEMA_VERSION``.
"""

from edgekit.bundle.contract import Contract, ContractFigure, ContractPoint, ContractStep
from edgekit.bundle.golden import Golden, pack_golden
from edgekit.bundle.limits import SCHEMA_VERSION
from edgekit.bundle.manifest import Manifest, utc_now
from edgekit.bundle.opening import is_bundle
from edgekit.bundle.reader import Bundle, BundleFiles
from edgekit.bundle.records import FileRecord, GoldenFiles, Parity, Source, Status
from edgekit.bundle.tolerance import DEFAULT_TOLERANCES, Tolerance
from edgekit.bundle.writer import write_bundle

__all__ = [
    "DEFAULT_TOLERANCES",
    "SCHEMA_VERSION",
    "Bundle",
    "BundleFiles",
    "Contract",
    "ContractFigure",
    "ContractPoint",
    "ContractStep",
    "FileRecord",
    "Golden",
    "GoldenFiles",
    "Manifest",
    "Parity",
    "Source",
    "Status",
    "Tolerance",
    "is_bundle",
    "pack_golden",
    "utc_now",
    "write_bundle",
]
