"""Windows that slide over spatial axes: their sizes, their padding, and how TFLite says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgekit.converters.emitters.tflite.schema import Padding
from edgekit.graph import Node


@dataclass(frozen=True)
class Window:
    """Geometry of a convolution or pooling, one entry per spatial axis.

    Args:
        kernel: Window size in elements, before dilation.
        stride: Step.
        dilation: Distance of two taps.
        before: Padding in front.
        after: Padding behind.
        size_in: Input size.
        size_out: Output size, as ONNX defines it.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    size_in: tuple[int, ...]
    size_out: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """Elements from the first to the last tap, both included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def is_unpadded(self) -> bool:
        """Whether no output looks beyond the border."""
        return not any(self.before) and not any(self.missing)

    @property
    def missing(self) -> tuple[int, ...]:
        """Padding behind that the last output really reads, per axis."""
        spans = zip(self.size_out, self.stride, self.reach, self.before, self.size_in, strict=True)
        return tuple(
            max(0, (out - 1) * step + reach - before - size)
            for out, step, reach, before, size in spans
        )

    @property
    def is_same(self) -> bool:
        """Whether TFLite's SAME padding gives exactly these outputs.

        Source: TensorFlow, "nn" guide, notes on padding: output = ceil(input / stride), the
        odd element of padding goes behind.
        """
        spans = zip(self.size_in, self.size_out, self.stride, self.reach, self.before, strict=True)
        for size, out, step, reach, before in spans:
            total = max((out - 1) * step + reach - size, 0)
            if out != -(-size // step) or before != total // 2:
                return False
        return True

    @property
    def padding(self) -> Padding | None:
        """TFLite's name for this padding; None if it has none."""
        if self.is_unpadded:
            return Padding.VALID
        return Padding.SAME if self.is_same else None

    def ordered(self, order: Sequence[int]) -> Window:
        """Return the window with its spatial axes in another order."""
        fields = ("kernel", "stride", "dilation", "before", "after", "size_in", "size_out")
        return Window(*(tuple(getattr(self, name)[axis] for axis in order) for name in fields))

    def with_height(self) -> Window:
        """Return a 1-D window as a 2-D one of height 1."""
        return Window(
            kernel=(1, *self.kernel),
            stride=(1, *self.stride),
            dilation=(1, *self.dilation),
            before=(0, *self.before),
            after=(0, *self.after),
            size_in=(1, *self.size_in),
            size_out=(1, *self.size_out),
        )


def read_window(
    node: Node, kernel: Sequence[int], size_in: Sequence[int], *, size_out: Sequence[int] = ()
) -> Window:
    """Read a Conv's or pool's attributes.

    Args:
        node: Its attributes ``strides``, ``dilations``, ``pads``, ``auto_pad``, ``ceil_mode``.
        kernel: Window size.
        size_in: Spatial input sizes.
        size_out: Spatial output sizes where ONNX already inferred them.

    Source: ONNX operators Conv-11 and MaxPool-12, output shape formulas.
    """
    rank = len(kernel)
    ones = (1,) * rank
    stride = node.attribute("strides", ones)
    dilation = node.attribute("dilations", ones)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    mode = node.attribute("auto_pad", "NOTSET")
    pads = node.attribute("pads", (0,) * (2 * rank))
    before, after = list(pads[:rank]), list(pads[rank:])
    if mode == "VALID":
        before = after = [0] * rank
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        for axis in range(rank):
            out = -(-size_in[axis] // stride[axis])
            total = max((out - 1) * stride[axis] + reach[axis] - size_in[axis], 0)
            small, large = total // 2, total - total // 2
            before[axis], after[axis] = (small, large) if mode == "SAME_UPPER" else (large, small)
    window = Window(
        kernel=tuple(kernel),
        stride=tuple(stride),
        dilation=tuple(dilation),
        before=tuple(before),
        after=tuple(after),
        size_in=tuple(size_in),
        size_out=tuple(size_out),
    )
    if size_out:
        return window
    return replace(window, size_out=_output_size(window, ceil=bool(node.attribute("ceil_mode", 0))))


def _output_size(window: Window, *, ceil: bool) -> tuple[int, ...]:
    sizes = []
    for axis, size in enumerate(window.size_in):
        step, before = window.stride[axis], window.before[axis]
        span = size + before + window.after[axis] - window.reach[axis]
        out = (-(-span // step) if ceil else span // step) + 1
        # A window that would start in the padding behind is dropped.
        if ceil and (out - 1) * step >= size + before:
            out -= 1
        sizes.append(out)
    return tuple(sizes)
