"""The log lines that are known, with what they mean and what to do.

To add one: write a ``Pattern`` with the words of the line that do not change between
releases, put the general ones after the special ones, and a recorded line into
tests/test_tensorrt_explain.py.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """A line, by the words that do not change.

    Args:
        words: Regular expression; its group ``node`` is the node, the others fill
            ``cause`` and ``fix``.
        cause: Format string.
        fix: Likewise.
    """

    words: str
    cause: str
    fix: str


REBUILD = "build the engine again on this device: edgekit build BUNDLE"
NO_MEMORY = "not enough memory is free for it"
_Q_DQ = "convert again with EdgeKit, whose Q/DQ files keep NVIDIA's rules"
DRIVER = {
    "2": "not enough GPU memory is free",
    "35": "the NVIDIA driver is missing or older than the CUDA libraries",
    "46": "the GPU is in use by a process that has it alone",
    "100": "no GPU is visible to this process",
    "222": "the driver is too old for code made by a newer CUDA",
    "801": "the driver cannot do this on this GPU",
    "803": "the NVIDIA kernel driver and its libraries are of different versions",
    "804": "the CUDA libraries are newer than this GPU's driver can follow",
    "999": "the driver failed; on a Jetson often a missing right to /dev/nvhost* or /dev/nvmap",
}

PATTERNS: tuple[Pattern, ...] = (
    # The parser and the model.
    Pattern(
        r"shiftIsAllZeros|Non-zero zero point is not supported",
        "a quantization has a zero point that is not 0; TensorRT takes symmetric codes only",
        _Q_DQ,
    ),
    Pattern(
        r"Scale coefficients must all be positive",
        "a quantization has a scale that is 0, negative or not a number",
        _Q_DQ,
    ),
    Pattern(
        r"(?P<node>[^\s(]+): input has type (?P<type>\w+) but must have type (?:FP8|Int8)",
        "a DequantizeLinear has {type} input; a bias must stay float",
        _Q_DQ,
    ),
    Pattern(
        r"Plugin not found|[Nn]o importer registered for op|getPluginCreator could not find plugin",
        "the operator is none of TensorRT's and no plugin for it is loaded",
        "replace it in the model, or load the plugin's library before building",
    ),
    Pattern(
        r"UNSUPPORTED_NODE|In function check\w+:",
        "this release's parser does not take the operator with these attributes or types",
        "see docs/operators.md for what EdgeKit rewrites; a newer TensorRT may take it",
    ),
    Pattern(
        r"Failed to parse the ONNX model|MODEL_DESERIALIZE_FAILED|Failed to parse ONNX model"
        r"|Network must have at least one output",  # what it makes of a file of text
        "the file is no ONNX model, or is cut off",
        "copy the bundle again and check it: edgekit verify BUNDLE",
    ),
    Pattern(
        r"Failed to open file|WeightsContext.*(?:not found|Failed)",
        "the model's external weight file is not where the model says",
        "keep the files of the artifact together",
    ),
    Pattern(
        r"reshape changes volume\. Reshaping (?P<have>\S+) to (?P<want>[^\s.)]+)",
        "a Reshape of {have} to {want} cannot be; the input's shape does not suit the model",
        "give the shapes that the model was made for with --shape NAME:MIN..MAX",
    ),
    Pattern(
        r"Kernel weight dimension failed to broadcast to input",
        "the layer's weights are for another number of channels than it is given",
        "the model contradicts itself: export it again",
    ),
    Pattern(
        r"!config\.getFlag\(BuilderFlag::k(?P<flag>\w+)\)|[Ss]trongly.?[Tt]yped.*(?P<name>FP16|INT8)",
        "a precision flag was set on a strongly typed network, whose file says the precision",
        "this is an error in EdgeKit's recipe; please report it with the model's name",
    ),
    # Profiles and shapes.
    Pattern(
        r"\bI\w+Layer (?P<node>[^:]+): (?:(?P=node): )?"
        r"(?P<what>[^.]+?)(?:\. |\s+In \w+ at ).*analyzeShapes",
        "a layer cannot have the sizes that the profile gives: {what}",
        "give the range that the model was made for with --shape NAME:MIN..MAX",
    ),
    Pattern(
        r"no optimization profile has been defined",
        "the model has dynamic sizes and no profile says which to expect",
        "give them: --shape NAME:1x3x224x224..8x3x640x640",
    ),
    Pattern(
        r"Invalid optimization profiles for input tensors (?P<tensor>[^,]+), .*MIN<=OPT<=MAX",
        "the profile of input {tensor} is not in order",
        "give min <= opt <= max in every size",
    ),
    Pattern(
        r"nput tensor (?P<tensor>\S+) is missing (?:dimensions )?in profile (?P<index>\d+)",
        "profile {index} has no shapes for the dynamic input {tensor}",
        "give them: --shape {tensor}:MIN..MAX",
    ),
    Pattern(
        r"Dimension mismatch for tensor (?P<tensor>\S+) and profile (?P<index>\d+)\. "
        r"(?P<what>[^.]+)\.",
        "profile {index} contradicts the model at input {tensor}: {what}",
        "keep the model's fixed sizes in --shape",
    ),
    Pattern(
        r"input tensor (?P<tensor>\S+) has (?P<have>\d+) dimensions "
        r"but profile \d+ has (?P<want>\d+)",
        "the profile gives input {tensor} {want} sizes; the model's has {have}",
        "give all {have} sizes in --shape",
    ),
    Pattern(
        r"does not satisfy any optimization profiles|profileM(?:in|ax)Dims",
        "the shape is outside of what the engine was built for",
        "feed a shape within the profile, or build with a wider one: --shape NAME:MIN..MAX",
    ),
    Pattern(
        r"[Ss]tatic dimension mismatch while setting input shape(?: for (?P<tensor>\S+?)\.)?",
        "a fixed size of the engine's input differs from the shape that was set",
        "feed the shape that the model was converted with",
    ),
    # An engine of another place.
    Pattern(
        r"expecting library version (?P<have>[\d.]+) got (?P<got>[\d.]+)",
        "the engine was built by TensorRT {got}; here is {have}",
        REBUILD,
    ),
    Pattern(
        r"Version tag does not match|stdVersionRead == ",
        "the engine was built by another release of TensorRT",
        REBUILD,
    ),
    Pattern(
        r"expecting compute (?P<want>[\d.]+) got compute (?P<got>[\d.]+)",
        "the engine was built for compute capability {got}; this GPU has {want}",
        REBUILD,
    ),
    Pattern(
        r"[Mm]agic ?[Tt]ag|kMAGIC_TAG|kEXPECTED_MAGIC_TAG",
        "the file is no plain engine of this edition of TensorRT "
        "(some tools put a header of their own before it)",
        REBUILD,
    ),
    Pattern(
        r"plan\.header\.size == blobSize|header\.size",
        "the engine file is cut off",
        REBUILD,
    ),
    Pattern(
        r"[Pp]latform (?:specific tag|tag) mismatch|created on a different platform",
        "the engine was built on another platform; engines do not move between x86 and Jetson",
        REBUILD,
    ),
    # What the hardware or the release cannot.
    Pattern(
        r"Target GPU SM (?P<sm>\d+) is not supported|Unsupported SM: (?P<hex>0x\w+)",
        "this release of TensorRT does not support this GPU",
        "install the release that its support matrix names for the GPU",
    ),
    Pattern(
        r"Cannot compile operation '(?P<node>[^']+)' for (?P<gpu>[^:]+): (?P<why>[^.]+)\.",
        "{gpu} cannot run it: {why}",
        "leave that GPU out, or convert in another precision",
    ),
    Pattern(
        r"HW-specific datatypes: (?P<type>\w+)",
        "not every GPU that was asked for has {type}",
        "name only GPUs that have it (FP8: compute capability 8.9 and later)",
    ),
    Pattern(
        r"libnvinfer_builder_resource\S*|Unable to load library: (?P<file>\S+)",
        "a library of TensorRT's builder is not installed or of another version",
        "install TensorRT whole (on a Jetson: sudo apt install tensorrt)",
    ),
    # DLA, before memory: its own limits are said with words of memory.
    Pattern(
        r"(?P<node>\S+): .*not running on DLA, and falling back to GPU is not enabled"
        r"|layer (?P<layer>.+?) is not (?:running|supported) on DLA, and falling back to GPU "
        r"is not",
        "the DLA cannot run a layer and the GPU may not take it over",
        "allow the fallback: leave --no-gpu-fallback out",
    ),
    Pattern(
        r"DLA .*does not support dynamic shapes|dynamic shapes? .*DLA",
        "the DLA runs fixed shapes only",
        "convert with fixed ones: --shape NAME:1x3x224x224",
    ),
    Pattern(
        r"cache is too small|(?:exceed|maximum).{0,40}DLA loadables|DLA loadables.{0,40}exceed",
        "the network is cut into more pieces than one DLA core holds (16)",
        "run it on the GPU, or keep unsupported layers out of its middle",
    ),
    Pattern(
        r"DLA only supports FP16 and Int8",
        "the DLA runs float16 and int8 only",
        "convert with --precision fp16 or int8",
    ),
    Pattern(
        r"Calibration failure occurred with no scaling factors|Calibrator is not being used",
        "int8 was asked for and no tensor has a scale",
        "convert with --precision int8 and samples, so that the bundle has a calibration cache",
    ),
    # Memory, and what looks like it.
    Pattern(
        r"[Oo]ut ?[Oo]f ?[Mm]emory|Requested amount of (?:GPU )?memory|User allocator error"
        r"|cudaError 2\b",
        NO_MEMORY,
        "close other programs, stop the desktop (sudo systemctl isolate multi-user.target), "
        "add swap, or build smaller: --workspace 256 --optimization-level 1",
    ),
    Pattern(
        r"[Cc]ould not find any implementation for node "
        r"(?P<node>\{ForeignNode\[.*?\]\}|.+?)(?:\.?\)|\.?$|,)",
        "no kernel fits this layer within the workspace",
        "give more scratch memory: --workspace 1024; if it stays, convert in another precision",
    ),
    Pattern(
        r"\[version\.cpp.*accelerator list|REFIT|STRIP_PLAN",
        "the build asked for what needs a GPU on this machine",
        "build on the device",
    ),
    # The driver, last: without a GPU its lines follow those of every other failure.
    Pattern(
        r"CUDA initialization failure with error: (?P<number>\d+)|cudaError (?P<code>\d+)",
        "CUDA does not work here: {driver}",
        "check it with: edgekit doctor",
    ),
)
