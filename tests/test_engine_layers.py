"""The inspector's documents, as three generations of TensorRT write them (recorded by shape)."""

from __future__ import annotations

from edgekit.runtimes.tensorrt.layers import read_layers

NAMES_ONLY = {"Layers": ["conv1 + relu1", "Reformatting CopyNode for Input Tensor 0 to conv2"]}
TEN = {
    "Layers": [
        {
            "Name": "conv1 + relu1",
            "LayerType": "CaskConvolution",
            "Outputs": [{"Name": "a", "Format/Datatype": "Thirty-two wide channel Int8 format"}],
        },
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to conv2",
            "LayerType": "Reformat",
            "Outputs": [{"Name": "b", "Format/Datatype": "Row major linear FP16 format"}],
        },
        {
            "Name": "{ForeignNode[norm.../Softmax]}",
            "LayerType": "Myelin",
            "Outputs": [{"Name": "c", "Format/Datatype": "Row major linear FP32"}],
        },
    ],
    "Bindings": ["x", "y"],
}
ELEVEN = {
    "Layers": [
        {
            "Name": "conv1",
            "LayerType": "kgen",
            "Outputs": [{"Name": "a", "Format": "Linear", "Datatype": "Half"}],
        }
    ],
    "I/O Tensors": ["x", "y"],
}
DLA = {
    "Layers": [
        {"Name": "{ForeignNode[conv1...relu9]}", "LayerType": "DLA", "Outputs": []},
        {"Name": "resize_3", "LayerType": "Resize", "Outputs": []},
    ]
}


def test_types_and_precisions_are_counted() -> None:
    report = read_layers(TEN)

    assert report is not None
    assert report.types == {"CaskConvolution": 1, "Reformat": 1, "Myelin": 1}
    assert report.precisions == {"Int8": 1, "FP16": 1, "FP32": 1}
    assert report.reformats == 1
    assert report.on_dla == ()


def test_the_document_of_release_11_is_read() -> None:
    report = read_layers(ELEVEN)

    assert report is not None
    assert report.precisions == {"FP16": 1}


def test_without_details_names_are_counted() -> None:
    report = read_layers(NAMES_ONLY)

    assert report is not None
    assert (report.count, report.reformats, dict(report.types)) == (2, 1, {})


def test_what_fell_back_from_the_dla_is_named() -> None:
    report = read_layers(DLA, for_dla=True)

    assert report is not None
    assert report.on_gpu == ("resize_3",)
    assert report.in_words().endswith("1 parts on the DLA; fell back to the GPU: resize_3")


def test_a_fused_part_on_the_gpu_is_no_dla() -> None:
    report = read_layers(TEN, for_dla=True)

    assert report is not None
    assert report.on_dla == ()


def test_nothing_listed_is_no_report() -> None:
    assert read_layers({}) is None
    assert read_layers({"Layers": []}) is None
    assert read_layers({"Layers": "?"}) is None
