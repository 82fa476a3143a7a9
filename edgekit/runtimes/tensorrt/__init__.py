"""NVIDIA TensorRT, every release that people have: 8.5 to 11, and TensorRT-RTX.

``spec`` says what to build, ``api`` opens the vendor's module (the one file that imports it),
``network`` parses and builds, ``engine`` runs; ``log`` collects NVIDIA's lines and ``explain``
says what they mean. To support one more release: run the conformance tests over its bindings
(tests/test_tensorrt_bindings.py); what it names differently becomes a feature in ``vendor``.
"""
