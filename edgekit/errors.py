"""Every error that EdgeKit raises on purpose.

The tree (code, exit status of the command line)::

    EdgeKitError                       EK000  1
    ├── UsageError                     EK100  2   a mistyped name, value or option
    ├── MissingDependencyError         EK110  3   an extra is not installed
    ├── ModelError                     EK200  4   the model itself
    │   ├── ModelFormatError           EK201      not readable, truncated, too large, hostile
    │   ├── UnsupportedOperatorError   EK210      a node that a target cannot run
    │   ├── ShapeError                 EK220      a shape is unknown, or given wrongly
    │   └── GateError                  EK230      a step's result disagrees with the step before
    ├── BundleError                    EK300  5   a bundle
    │   ├── BundleFormatError          EK301      not a bundle, truncated, a bad manifest
    │   ├── BundleVersionError         EK302      written by a newer EdgeKit
    │   ├── BundleIntegrityError       EK303      a file is missing or does not match its hash
    │   └── UnsafeBundleError          EK304      a path outside the bundle, or over the limits
    ├── SessionError                   EK400  6   running
    │   ├── InputError                 EK401      a wrong name, shape or dtype
    │   ├── SessionClosedError         EK402
    │   ├── RuntimeUnavailableError    EK410      no runtime on this machine can run it
    │   └── EngineError                EK420      the vendor's engine failed; its text is kept
    │       ├── CudaError              EK421      a CUDA call failed
    │       ├── TensorRtError          EK422      TensorRT refused a model, a setting or an engine
    │       └── EngineMismatchError    EK423      an engine is for another device or release
    ├── CalibrationError               EK500  7
    │   └── ContractError              EK510      no recipe found keeps the promised accuracy
    ├── VerificationError              EK600  8   goldens do not replay within their tolerance
    │   └── LimitError                 EK610      a bundle is worse than the one before by too much
    └── AppError                       EK700  9   an app cannot use what it was given
        ├── FaceError                  EK701      no face, several, or one too small or blurred
        └── StoreError                 EK702      enrolled faces are damaged, or another model's

A message says what happened with the value, what was expected, and what to do.
To add an error: subclass the nearest one, give it the next code of its decade,
and add its line above; ``tests/test_errors.py`` checks that the codes are unique.
"""

from __future__ import annotations


class EdgeKitError(Exception):
    """Base of all errors that EdgeKit raises on purpose."""

    code = "EK000"
    exit_status = 1


class UsageError(EdgeKitError):
    """A name, value or option that the caller mistyped or combined wrongly."""

    code = "EK100"
    exit_status = 2


class MissingDependencyError(EdgeKitError):
    """A library that the requested work needs is not installed."""

    code = "EK110"
    exit_status = 3


class ModelError(EdgeKitError):
    """The model cannot be converted."""

    code = "EK200"
    exit_status = 4


class ModelFormatError(ModelError):
    """The model file is not readable: wrong format, truncated, over the limits."""

    code = "EK201"


class UnsupportedOperatorError(ModelError):
    """A node that the target cannot run.

    Args:
        node: Name of the ONNX node (or its first output where it has none).
        op_type: ONNX operator name.
        reason: Why it cannot be lowered, with the values that matter.
        target: Name of the target that refuses.
    """

    code = "EK210"

    def __init__(self, *, node: str, op_type: str, reason: str, target: str) -> None:
        super().__init__(f"{target} cannot run node {node!r} ({op_type}): {reason}")
        self.node = node
        self.op_type = op_type
        self.reason = reason
        self.target = target


class ShapeError(ModelError):
    """A shape is unknown or contradicts the model."""

    code = "EK220"


class GateError(ModelError):
    """A conversion step's numbers disagree with the step before it."""

    code = "EK230"


class BundleError(EdgeKitError):
    """A bundle cannot be read or written."""

    code = "EK300"
    exit_status = 5


class BundleFormatError(BundleError):
    """The file is not a bundle, is truncated, or its manifest is malformed."""

    code = "EK301"


class BundleVersionError(BundleError):
    """The bundle's schema is newer than this EdgeKit."""

    code = "EK302"


class BundleIntegrityError(BundleError):
    """A file of the bundle is missing or does not match its hash."""

    code = "EK303"


class UnsafeBundleError(BundleError):
    """The bundle names a path outside itself or exceeds the size limits."""

    code = "EK304"


class SessionError(EdgeKitError):
    """Running a model failed."""

    code = "EK400"
    exit_status = 6


class InputError(SessionError):
    """An input's name, shape or dtype is not what the model takes."""

    code = "EK401"


class SessionClosedError(SessionError):
    """The session was used after ``close()``."""

    code = "EK402"


class RuntimeUnavailableError(SessionError):
    """No runtime on this machine can run the artifact."""

    code = "EK410"


class EngineError(SessionError):
    """The vendor's engine failed; its own text is kept in the message."""

    code = "EK420"


class CudaError(EngineError):
    """A CUDA call failed; the message has its name and CUDA's own error."""

    code = "EK421"


class TensorRtError(EngineError):
    """TensorRT refused a model, a setting or an engine; the message has its log."""

    code = "EK422"


class EngineMismatchError(EngineError):
    """An engine was built for another device, release or setting than what would run it."""

    code = "EK423"


class CalibrationError(EdgeKitError):
    """Calibration data or ranges are unusable."""

    code = "EK500"
    exit_status = 7


class ContractError(CalibrationError):
    """No way of quantizing that was found keeps the promised accuracy; nothing was written.

    Args:
        message: As of any error, with the best that was found as a table.
        frontier: The same, JSON-ready.
    """

    code = "EK510"

    def __init__(self, message: str, *, frontier: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.frontier = frontier


class VerificationError(EdgeKitError):
    """A golden output does not replay within its tolerance."""

    code = "EK600"
    exit_status = 8


class LimitError(VerificationError):
    """A figure of a bundle is worse than that of the bundle before, by more than is allowed."""

    code = "EK610"


class AppError(EdgeKitError):
    """An app cannot use what it was given."""

    code = "EK700"
    exit_status = 9


class FaceError(AppError):
    """A picture holds no face, several, or one that is too small or too blurred."""

    code = "EK701"


class StoreError(AppError):
    """A store of enrolled faces is damaged, or was made with another model."""

    code = "EK702"
