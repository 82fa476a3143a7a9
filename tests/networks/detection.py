"""YOLO-style detectors with their decode."""

from __future__ import annotations

import numpy as np
import onnx

from networks.builder import NetBuilder
from networks.case import NetworkCase
from networks.settle import fold_batch_norms, settle

SIZE = 320
STRIDES = (8, 16, 32)
BINS = 16
CLASSES = 80


def yolov8() -> onnx.ModelProto:
    """YOLOv8 at 320 x 320, quarter width, as Ultralytics exports it: (1, 84, 2100).

    Batch norms are folded into the convolutions, which that exporter does as well.
    """
    net = NetBuilder("yolov8")
    x = net.input("images", [1, 3, SIZE, SIZE])
    x = _cbs(net, x, (3, 16), stride=2)
    x = _c2f(net, _cbs(net, x, (16, 32), stride=2), (32, 32), shortcut=True)
    p3 = _c2f(net, _cbs(net, x, (32, 64), stride=2), (64, 64), shortcut=True)
    p4 = _c2f(net, _cbs(net, p3, (64, 96), stride=2), (96, 96), shortcut=True)
    p5 = _c2f(net, _cbs(net, p4, (96, 128), stride=2), (128, 128), shortcut=True)
    p5 = _sppf(net, p5, 128)
    n4 = _c2f(net, _joined(net, _doubled(net, p5), p4), (224, 96), shortcut=False)
    n3 = _c2f(net, _joined(net, _doubled(net, n4), p3), (160, 64), shortcut=False)
    d4 = _joined(net, _cbs(net, n3, (64, 64), stride=2), n4)
    d4 = _c2f(net, d4, (160, 96), shortcut=False)
    d5 = _joined(net, _cbs(net, d4, (96, 96), stride=2), p5)
    d5 = _c2f(net, d5, (224, 128), shortcut=False)

    maps = []
    for level, channels in ((n3, 64), (d4, 96), (d5, 128)):
        head = _joined(
            net, _branch(net, level, channels, 4 * BINS), _branch(net, level, channels, CLASSES)
        )
        # (1, 144, H, W) -> (1, 144, H*W)
        maps.append(net.reshape(head, 1, 4 * BINS + CLASSES, -1))
    joined = net.op("Concat", *maps, axis=2)
    sizes = net.ints(4 * BINS, CLASSES)
    distances, classes = net.node("Split", joined, sizes, outputs=2, axis=1)
    boxes = _decode_boxes(net, _dfl(net, distances))
    output = net.op("Concat", boxes, net.op("Sigmoid", classes), axis=1)
    net.output(output, "output0", shape=[1, 4 + CLASSES, anchors().shape[1]])
    return fold_batch_norms(settle(net.model()))


def anchors() -> np.ndarray:
    """Return the cell centres in cells, float32 (2, A): x then y, level by level."""
    levels = []
    for stride in STRIDES:
        cells = np.arange(SIZE // stride, dtype=np.float32) + np.float32(0.5)
        grid_y, grid_x = np.meshgrid(cells, cells, indexing="ij")
        levels.append(np.stack([grid_x.ravel(), grid_y.ravel()]))
    return np.concatenate(levels, axis=1)


def _dfl(net: NetBuilder, distances: str) -> str:
    """Distribution focal loss: expectation over 16 bins of each of the four distances."""
    # (1, 64, A) -> (1, 4, 16, A) -> (1, 16, 4, A)
    x = net.op("Transpose", net.reshape(distances, 1, 4, BINS, -1), perm=[0, 2, 1, 3])
    x = net.op("Softmax", x, axis=1)
    bins = net.constant(np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1), "bins")
    return net.reshape(net.op("Conv", x, bins, kernel_shape=[1, 1]), 1, 4, -1)


def _decode_boxes(net: NetBuilder, distances: str) -> str:
    """Left, top, right, bottom in cells -> centre and size in pixels."""
    near = net.op("Slice", distances, net.ints(0), net.ints(2), net.ints(1))
    far = net.op("Slice", distances, net.ints(2), net.ints(4), net.ints(1))
    centres = net.constant(anchors()[None], "anchors")
    top_left = net.op("Sub", centres, near)
    bottom_right = net.op("Add", centres, far)
    middle = net.op("Div", net.op("Add", top_left, bottom_right), net.floats(2.0))
    size = net.op("Sub", bottom_right, top_left)
    counts = [(SIZE // stride) ** 2 for stride in STRIDES]
    strides = np.repeat(np.array(STRIDES, np.float32), counts)[None]
    boxes = net.op("Concat", middle, size, axis=1)
    return net.op("Mul", boxes, net.constant(strides, "strides"))


def _cbs(
    net: NetBuilder, x: str, channels: tuple[int, int], kernel: int = 3, *, stride: int = 1
) -> str:
    return net.conv_bn(x, channels, kernel, stride=stride, act="Silu")


def _c2f(net: NetBuilder, x: str, channels: tuple[int, int], *, shortcut: bool) -> str:
    inside, outside = channels
    half = outside // 2
    x = _cbs(net, x, (inside, outside), 1)
    first, second = net.node("Split", x, net.ints(half, half), outputs=2, axis=1)
    y = _cbs(net, _cbs(net, second, (half, half)), (half, half))
    third = net.op("Add", second, y) if shortcut else y
    return _cbs(net, _joined(net, first, second, third), (3 * half, outside), 1)


def _sppf(net: NetBuilder, x: str, channels: int) -> str:
    x = _cbs(net, x, (channels, channels // 2), 1)
    pooled = [x]
    for _ in range(3):
        pooled.append(net.max_pool(pooled[-1], 5, 1, pad=2))
    return _cbs(net, _joined(net, *pooled), (2 * channels, channels), 1)


def _branch(net: NetBuilder, x: str, inside: int, outside: int) -> str:
    x = _cbs(net, _cbs(net, x, (inside, 64)), (64, 64))
    return net.conv(x, (64, outside), 1)


def _joined(net: NetBuilder, *parts: str) -> str:
    return net.op("Concat", *parts, axis=1)


def _doubled(net: NetBuilder, x: str) -> str:
    return net.op(
        "Resize",
        x,
        "",
        net.floats(1.0, 1.0, 2.0, 2.0),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def yolov5() -> onnx.ModelProto:
    """A small backbone with YOLOv5's anchor head: (1, 3 * cells, 85)."""
    net = NetBuilder("yolov5")
    x = net.input("images", [1, 3, 160, 160])
    for channels in ((3, 16), (16, 32), (32, 48)):
        x = _cbs(net, x, channels, stride=2)
    p3 = x
    p4 = _cbs(net, p3, (48, 64), stride=2)
    levels = [_anchor_head(net, p3, 48, 8), _anchor_head(net, p4, 64, 16)]
    net.output(net.op("Concat", *levels, axis=1), "output0", shape=[1, 1500, 85])
    return fold_batch_norms(settle(net.model()))


def _anchor_head(net: NetBuilder, x: str, channels: int, stride: int) -> str:
    cells = 160 // stride
    x = net.conv(x, (channels, 255), 1)
    # (1, 255, H, W) -> (1, 3, 85, H, W) -> (1, 3, H, W, 85)
    x = net.reshape(x, 1, 3, 85, cells, cells)
    x = net.op("Sigmoid", net.op("Transpose", x, perm=[0, 1, 3, 4, 2]))
    parts = []
    for start, stop in ((0, 2), (2, 4), (4, 85)):
        parts.append(net.op("Slice", x, net.ints(start), net.ints(stop), net.ints(4)))
    steps = np.arange(cells, dtype=np.float32)
    grid_y, grid_x = np.meshgrid(steps, steps, indexing="ij")
    grid = np.broadcast_to(np.stack([grid_x, grid_y], -1), (1, 3, cells, cells, 2))
    sizes = np.array([[10, 13], [16, 30], [33, 23]], np.float32) * np.float32(stride / 8)
    anchor = np.broadcast_to(sizes.reshape(1, 3, 1, 1, 2), (1, 3, cells, cells, 2))
    xy = net.op("Mul", parts[0], net.floats(2.0))
    xy = net.op("Add", xy, net.constant(np.ascontiguousarray(grid - np.float32(0.5)), "grid"))
    xy = net.op("Mul", xy, net.floats(float(stride)))
    wh = net.op("Pow", net.op("Mul", parts[1], net.floats(2.0)), net.floats(2.0))
    wh = net.op("Mul", wh, net.constant(np.ascontiguousarray(anchor), "anchor"))
    return net.reshape(net.op("Concat", xy, wh, parts[2], axis=4), 1, -1, 85)


CASES = (
    NetworkCase("yolov8", "detector", yolov8, notes="C2f, SiLU, SPPF, DFL, anchor decode"),
    NetworkCase("yolov5", "detector", yolov5, notes="rank-5 anchor head, Pow"),
)
