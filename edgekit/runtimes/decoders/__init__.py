"""What a detector's raw outputs mean: from its tensors to rows of boxes.

To add one: a file here with a function ``(outputs, canvas_hw) -> rows`` and a line in
``DECODERS``. ``outputs`` are a session's, by name; rows are float, shape (n, 6): left, top,
right, bottom in pixels of the model's input, score in 0..1, class from 0. Rows that overlap
are dropped later, by the caller. ``pick_decoder`` also takes a user's own
``module:function``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.metrics.pick import user_object
from edgekit.registry import Entry, pick, unknown_name

Array = NDArray[Any]
Decoder = Callable[[Mapping[str, Array], tuple[int, int]], Array]

_HERE = "edgekit.runtimes.decoders"

DECODERS: dict[str, Entry] = {
    "yolox": Entry(f"{_HERE}.yolox:decode_yolox", summary="YOLOX heads at strides 8, 16, 32"),
    "yunet": Entry(f"{_HERE}.yunet:decode_yunet", summary="YuNet's twelve heads: faces"),
    "boxes": Entry(f"{_HERE}.rows:decode_rows", summary="rows (n, 6) as they come out"),
}


def pick_decoder(text: str) -> Decoder:
    """Return a decoder by its name in ``DECODERS``, or the user's ``module:function``.

    Raises:
        UsageError: There is none.
    """
    module, _, name = text.partition(":")
    if not name:
        if text not in DECODERS:
            message = unknown_name(text, DECODERS, kind="decoder")
            raise UsageError(f"{message}, or give module:function")
        decoder: Decoder = pick(DECODERS, text, kind="decoder").load()
        return decoder
    found = user_object(module, name, kind="decoder")
    if not callable(found):
        raise UsageError(f"{text} is a {type(found).__name__}; a function is expected")
    own: Decoder = found
    return own
