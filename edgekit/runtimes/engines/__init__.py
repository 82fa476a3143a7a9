"""Built engines: caches of one device, kept apart from bundles and found again by what they fit.

An engine fits one GPU, one release of TensorRT and the settings that it was built with. All of
that is its key; the store keeps the plan under the key's digest, with the key beside it in
words. docs/engines.md tells what is where.
"""

from edgekit.runtimes.engines.key import DeviceFacts, EngineKey
from edgekit.runtimes.engines.store import EngineStore, StoredEngine

__all__ = ["DeviceFacts", "EngineKey", "EngineStore", "StoredEngine"]
