"""NVIDIA's log lines become a cause and what to do.

Lines marked rtx were recorded from TensorRT-RTX 1.7.1 on a machine without a GPU; the others
are from public reports, named beside them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from edgekit.runtimes.tensorrt.explain import explain, node_of
from edgekit.runtimes.tensorrt.release import Release

NO_DRIVER = (
    "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at "
    "/_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is "
    "insufficient for CUDA runtime version))"
)


@dataclass(frozen=True)
class Told:
    id: str
    line: str
    cause: str
    fix: str
    node: str | None = None


TOLD = [
    Told(
        "zero_point",  # rtx
        "ModelImporter.cpp:151: ERROR: onnxOpImporters.cpp:1929 In function buildZeroPointTensor:"
        "\n[6] Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point is not supported.",
        "zero point that is not 0",
        "convert again",
    ),
    Told(
        "scale",  # rtx
        "INVALID_NODE: Assertion failed: (scaleAllPositive || allowNegativeScale): Scale "
        "coefficients must all be positive",
        "scale that is 0, negative or not a number",
        "convert again",
    ),
    Told(
        "bias",  # rtx
        "ITensor::getDimensions: Error Code 4: API Usage Error (bias_dl: input has type Int32 but "
        "must have type FP8, FP4, Int4, Int8, or UInt8. In checkType at nodeBase.cpp:456)",
        "Int32 input; a bias must stay float",
        "convert again",
        node="bias_dl",
    ),
    Told(
        "plugin",  # rtx
        "ModelImporter.cpp:151: ERROR: onnxOpCheckers.cpp:998 In function "
        'checkFallbackPluginImporter:\n[6] creator && "Plugin not found, are the plugin name, '
        'version, and namespace correct?"',
        "no plugin",
        "load the plugin",
    ),
    Told(
        "operator",  # rtx
        "ModelImporter.cpp:151: ERROR: onnxOpCheckers.cpp:1130 In function checkDet:\n[8] false",
        "parser does not take the operator",
        "docs/operators.md",
    ),
    Told(
        "no_model",  # rtx
        "(deserializeOnnxModel): MODEL_DESERIALIZE_FAILED: Assertion failed: "
        "model->ParseFromCodedStream(&codedInput): Failed to parse the ONNX model.",
        "no ONNX model",
        "edgekit verify",
    ),
    Told(
        "no_network",  # rtx, of a file of text
        "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Network must have at "
        "least one output. In validate at /_src/optimizer/api/network.cpp:3810)",
        "no ONNX model",
        "edgekit verify",
    ),
    Told(
        "channels",  # rtx
        "INVALID_NODE: Assertion failed: (nchan == -1 || kernelWeights.shape.d[1] * ngroup == "
        "nchan): Kernel weight dimension failed to broadcast to input.",
        "another number of channels",
        "export it again",
    ),
    Told(
        "range_of_a_reshape",  # rtx
        "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (IShuffleLayer flat: "
        "reshape changes volume to multiple of original non-zero volume. Reshaping [n,3,8,8] to "
        "[1,192]. In operator() at /_src/optimizer/common/shape/shapeContext.cpp:4633 In "
        "analyzeShapes at /_src/optimizer/shapeof/graphShapeAnalyzer.cpp:2825)",
        "the profile gives: reshape changes volume to multiple of original non-zero volume$",
        "--shape",
        node="flat",
    ),
    Told(
        "range_of_a_product",  # rtx
        "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (IMatrixMultiplyLayer "
        "fc: fc: attempt to multiply two matrices with mismatching dimensions In processCheck at "
        "/_src/optimizer/shapeof/graphShapeAnalyzer.cpp:1066 In analyzeShapes at "
        "/_src/optimizer/shapeof/graphShapeAnalyzer.cpp:2825)",
        "the profile gives: attempt to multiply two matrices with mismatching dimensions$",
        "--shape",
        node="fc",
    ),
    Told(
        "reshape",  # rtx
        "ITensor::getDimensions: Error Code 4: Shape Error (reshape changes volume. Reshaping "
        "[1,3,8,8] to [5,5]. In operator() at shapeContext.cpp:4633)",
        r"\[1,3,8,8\] to \[5,5\]",
        "--shape",
    ),
    Told(
        "typed_flag",  # NVIDIA/TensorRT issue 4253
        "IBuilder::buildSerializedNetwork: Error Code 3: API Usage Error (Parameter check failed, "
        "condition: !config.getFlag(BuilderFlag::kFP16). )",
        "strongly typed network",
        "report it",
    ),
    Told(
        "no_profile",  # rtx
        "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Network has dynamic or "
        "shape inputs, but no optimization profile has been defined. In validate at network.cpp)",
        "no profile",
        "--shape NAME",
    ),
    Told(
        "profile_order",  # rtx
        "IOptimizationProfile::isValid: Error Code 4: API Usage Error (Invalid optimization "
        "profiles for input tensors x, please ensure that the optimization profiles satisfy "
        "MIN<=OPT<=MAX. In isValid at optimizationProfile.cpp:367)",
        "profile of input x",
        "min <= opt <= max",
    ),
    Told(
        "profile_lacks_input",  # rtx
        "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Dynamic input tensor x "
        "is missing dimensions in profile 0. In validate at network.cpp:4046)",
        "dynamic input x",
        "--shape x:MIN..MAX",
    ),
    Told(
        "profile_contradicts",  # rtx
        "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Dimension mismatch for "
        "tensor x and profile 0. At dimension axis 1, profile has min=5, opt=5, max=5 but tensor "
        "has 3. In validate at network.cpp:4054)",
        "contradicts the model at input x: At dimension axis 1",
        "fixed sizes",
    ),
    Told(
        "profile_rank",  # rtx
        "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Dynamic-shaped input "
        "tensor x has 4 dimensions but profile 0 has 3 dimensions. In validate at network.cpp)",
        "gives input x 3 sizes; the model's has 4",
        "all 4 sizes",
    ),
    Told(
        "other_release",  # InsightFace-REST issue 84
        "6: The engine plan file is not compatible with this version of TensorRT, expecting "
        "library version 8.2.3 got 8.2.1, please rebuild.",
        "built by TensorRT 8.2.1; here is 8.2.3",
        "edgekit build",
    ),
    Told(
        "version_tag",  # FastMOT issue 127
        "coreReadArchive.cpp (41) - Serialization Error in verifyHeader: 0 (Version tag does not "
        "match. Note: Current Version: 96, Serialized Engine Version: 97)",
        "another release",
        "edgekit build",
    ),
    Told(
        "magic_tag",  # rtx
        "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
        "header.magicTag == kEXPECTED_MAGIC_TAG failed.Trying to load an engine created with "
        "incompatible serialization version (1802401130 != 1953657974).)",
        "no plain engine",
        "edgekit build",
    ),
    Told(
        "cut_off",  # rtx
        "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
        "plan.header.size == blobSize failed. In parsePlan at runtime.cpp:780)",
        "cut off",
        "edgekit build",
    ),
    Told(
        "old_gpu",  # NVIDIA/TensorRT issue 4359
        "IBuilder::buildSerializedNetwork: Error Code 9: API Usage Error (Target GPU SM 61 is not "
        "supported by this TensorRT release.)",
        "does not support this GPU",
        "support matrix",
    ),
    Told(
        "turing",  # rtx
        "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: "
        "check_turing_op_compatibility] Cannot compile operation 'fc' for Turing (SM75): FP32 "
        "GEMM is not supported. In compileGraph at codeGenerator.cpp:2012)",
        r"Turing \(SM75\) cannot run it: FP32 GEMM is not supported",
        "another precision",
        node="fc",
    ),
    Told(
        "dla_dynamic",  # onnx/tensorflow-onnx issue 1632
        "DLA Layer shuffle_netv2/Conv2D does not support dynamic shapes in any dimension.",
        "fixed shapes only",
        "--shape",
    ),
    Told(
        "no_scales",  # NVIDIA/TensorRT issue 1827
        "4: [standardEngineBuilder.cpp::initCalibrationParams::1402] Error Code 4: Internal Error "
        "(Calibration failure occurred with no scaling factors detected. This could be due to no "
        "int8 calibrator or insufficient custom scales for network layers.)",
        "no tensor has a scale",
        "--precision int8",
    ),
    Told(
        "memory",  # NVIDIA/TensorRT issue 4258
        "Error[1]: [defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
        "not enough memory",
        "--workspace 256",
    ),
    Told(
        "workspace",  # NVIDIA/TensorRT issue 2035
        "Error[10]: [optimizer.cpp::computeCosts::2011] Error Code 10: Internal Error (Could not "
        "find any implementation for node {ForeignNode[onnx::Gather_72...ScatterND_170]}.)",
        "no kernel",
        "--workspace 1024",
        node="{ForeignNode[onnx::Gather_72...ScatterND_170]}",
    ),
    Told(
        "no_driver",  # 8.5.3 on a machine without a GPU
        "CUDA initialization failure with error: 35",
        "driver is missing or older",
        "edgekit doctor",
    ),
]


@pytest.mark.parametrize("case", TOLD, ids=lambda case: case.id)
def test_a_recorded_line_is_explained(case: Told) -> None:
    # Without a driver its complaint follows every other failure; it must not be blamed.
    meaning = explain([NO_DRIVER, case.line] if case.id != "no_driver" else [case.line])

    assert meaning is not None
    assert re.search(case.cause, meaning.cause)
    assert case.fix in meaning.fix
    assert meaning.node == case.node
    assert meaning.line == case.line


def test_an_unknown_line_is_not_explained() -> None:
    assert explain(["something went wrong"]) is None
    assert explain([]) is None


@pytest.mark.parametrize("id", ["other_release", "version_tag", "magic_tag", "cut_off"])
def test_an_engine_of_another_place_is_a_mismatch(id: str) -> None:
    line = next(case.line for case in TOLD if case.id == id)

    meaning = explain([line], release=Release.parse("rtx-1.7.1"))

    assert meaning is not None
    assert meaning.is_mismatch
    assert "--target tensorrt-rtx" in meaning.fix


@dataclass(frozen=True)
class Node:
    id: str
    lines: list[str]
    name: str


NODES = [
    Node("release_11", ["ModelImporter.cpp:142: --- Begin node ---\nNode name: ql"], "ql"),
    Node(
        "release_8",
        [
            'ModelImporter.cpp:773: While parsing node number 0 [QuantizeLinear -> "q"]:',
            'ModelImporter.cpp:775: input: "x"\noutput: "q"\nname: "ql"\nop_type: "QuantizeLinear"',
        ],
        "ql",
    ),
    Node("nameless", ['While parsing node number 4 [Conv -> "c1"]:'], "c1"),
    Node("invalid", ["[6] Invalid Node - stem\nITensor::getDimensions: Error Code 4"], "stem"),
]


@pytest.mark.parametrize("case", NODES, ids=lambda case: case.id)
def test_the_node_that_the_parser_was_at_is_found(case: Node) -> None:
    assert node_of(case.lines) == case.name
