"""From an ONNX file to an engine: the builder's side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.errors import TensorRtError
from edgekit.registry import unknown_name
from edgekit.runtimes.tensorrt.calibration import running_cache
from edgekit.runtimes.tensorrt.log import Log
from edgekit.runtimes.tensorrt.profile import Profile
from edgekit.runtimes.tensorrt.progress import Tell, monitor_methods
from edgekit.runtimes.tensorrt.spec import BuildSpec
from edgekit.runtimes.tensorrt.vendor import Vendor


@dataclass
class Config:
    """A builder's settings, with what they point to.

    Args:
        vendor: The vendor's object.
        kept: Objects that must live as long.
    """

    vendor: Any
    kept: list[Any] = field(default_factory=list)


class BuildSide(Vendor):
    """Builder, parser, settings, build."""

    def create_builder(self, log: Log | None = None) -> Any:
        """Return a builder; TensorRT-RTX's needs no GPU, all others do.

        Args:
            log: Gets what the library writes, besides ``self.log``.

        Raises:
            TensorRtError: There is no GPU, or this edition cannot build.
        """
        if not self.can_build:
            raise TensorRtError(f"TensorRT {self.release} only runs engines; it has no builder")
        self.listen(log)
        since = self.log.mark
        try:
            return self.module.Builder(self.logger)
        except TypeError as error:  # "factory function returned nullptr"
            raise self.failure(
                "making a builder", since=since, default="check the GPU: edgekit doctor"
            ) from error

    def create_network(self, builder: Any, *, flags: Sequence[str] = ()) -> Any:
        """Return an empty network.

        Args:
            builder: Of ``create_builder``.
            flags: Names of ``NetworkDefinitionCreationFlag``.

        Raises:
            TensorRtError: This release has no such flag, or makes no network.
        """
        since, bits = self.log.mark, 0
        for name in flags:
            bits |= 1 << int(self.member("NetworkDefinitionCreationFlag", name))
        network = builder.create_network(bits)
        if network is None:
            raise self.failure("making a network", since=since)
        return network

    def parse(self, network: Any, path: Path) -> Any:
        """Read an ONNX file into a network.

        Args:
            network: Of ``create_network``.
            path: The file; external data is looked for beside it.

        Returns:
            The parser. It owns the weights: keep it until the engine is built.

        Raises:
            TensorRtError: It does not take the model; names the node.
        """
        if not path.is_file():
            raise TensorRtError(f"there is no file {path} to parse")
        since = self.log.mark
        if self.features["plugins"]:  # the parser makes some operators of plugins
            self.module.init_libnvinfer_plugins(self.logger, "")
        try:
            parser = self.module.OnnxParser(network, self.logger)
        except TypeError as error:  # "factory function returned nullptr"
            raise self.failure("making a parser", since=since) from error
        if parser.parse_from_file(os.fspath(path)):
            return parser
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        said = [f"{_name(error.code())}: {error.desc()}" for error in errors]
        raise self.failure(
            f"parsing {path.name}",
            since=since,
            node=_parser_node(errors[0]) if errors else None,
            said=said,
        )

    def create_config(self, builder: Any, spec: BuildSpec, network: Any) -> Config:
        """Return the settings for a build.

        Raises:
            TensorRtError: This release or device cannot do what the spec says.
        """
        vendor = builder.create_builder_config()
        if vendor is None:
            raise self.failure("making builder settings")
        config = Config(vendor)
        vendor.set_memory_pool_limit(
            self.member("MemoryPoolType", "WORKSPACE"), spec.workspace_mib << 20
        )
        for name in spec.builder_flags:
            vendor.set_flag(self.member("BuilderFlag", name))
        if spec.is_detailed:
            vendor.profiling_verbosity = self.member("ProfilingVerbosity", "DETAILED")
        if spec.optimization_level is not None:
            self._set_level(vendor, spec.optimization_level)
        if spec.dla_core is not None:
            self._use_dla(builder, vendor, core=spec.dla_core, gpu_fallback=spec.gpu_fallback)
        if spec.calibration is not None:
            calibrator = self.calibrator(spec.calibration.read_bytes())
            vendor.int8_calibrator = calibrator
            config.kept.append(calibrator)
        self._set_capabilities(vendor, spec.compute_capabilities)
        for profile in spec.profiles:
            config.kept.append(self._add_profile(builder, vendor, network, profile))
        return config

    def build(self, builder: Any, network: Any, config: Config) -> memoryview:
        """Return the engine's bytes, which stay the library's own: they are not copied.

        Raises:
            TensorRtError: It cannot be built.
        """
        since = self.log.mark
        plan = builder.build_serialized_network(network, config.vendor)
        if plan is None:
            raise self.failure("building the engine", since=since)
        return memoryview(plan).cast("B")

    def watch(self, config: Config, tell: Tell) -> bool:
        """Have the build tell how far it is; False where the release cannot (before 10)."""
        if not self.features["progress"]:
            return False
        monitor = self.derive("IProgressMonitor", monitor_methods(tell))
        config.vendor.progress_monitor = monitor
        config.kept.append(monitor)
        return True

    def load_timing_cache(self, config: Config, data: bytes) -> bool:
        """Start from kernels that were measured before.

        Args:
            config: Of ``create_config``.
            data: What ``timing_cache`` returned, or ``b""`` to begin one.

        Returns:
            Whether the data was of use; of another device or release it is left out.
        """
        if not self.features["timing_cache"]:
            return False
        since = self.log.mark
        for content in (data, b"") if data else (b"",):
            cache = config.vendor.create_timing_cache(content)
            if cache is not None and config.vendor.set_timing_cache(cache, ignore_mismatch=False):
                config.kept.append(cache)
                # What it cannot read becomes an empty cache and a warning.
                refused = any("timing cache" in line for line in self.log.warnings(since))
                return bool(content) and not refused
        return False

    def timing_cache(self, config: Config) -> bytes:
        """Return what the build has measured, ``b""`` where there is nothing."""
        cache = config.vendor.get_timing_cache() if self.features["timing_cache"] else None
        memory = None if cache is None else cache.serialize()
        return b"" if memory is None else bytes(memoryview(memory))

    def calibrator(self, cache: bytes) -> Any:
        """Return a calibrator that knows a cache and never asks for data.

        Args:
            cache: Text of a calibration cache, of any release.

        Raises:
            TensorRtError: This release has no calibrators (11 and later), or it is no cache.
        """
        if not self.features["calibrator"]:
            raise TensorRtError(
                f"TensorRT {self.release} has no calibrators; it takes int8 as Q/DQ pairs only"
            )
        text = running_cache(cache, self.release)
        return self.derive(
            "IInt8EntropyCalibrator2",
            {
                "get_batch_size": lambda made: 1,
                "get_batch": lambda made, names, *more: None,
                "read_calibration_cache": lambda made, *more: text,
                "write_calibration_cache": lambda made, data, *more: None,
            },
        )

    def _set_level(self, vendor: Any, level: int) -> None:
        if self.features["optimization_level"]:
            vendor.builder_optimization_level = level
            return
        self.log.add("warning", f"TensorRT {self.release} has no optimization levels; left out")

    def _use_dla(self, builder: Any, vendor: Any, *, core: int, gpu_fallback: bool) -> None:
        cores = int(builder.num_DLA_cores)
        if core >= cores:
            has = f"has {cores} (0 to {cores - 1})" if cores else "has none"
            raise TensorRtError(
                f"DLA core {core} was asked for; this device {has}; "
                "leave --dla out, or give another"
            )
        vendor.default_device_type = self.member("DeviceType", "DLA")
        vendor.DLA_core = core
        if gpu_fallback:
            vendor.set_flag(self.member("BuilderFlag", "GPU_FALLBACK"))

    def _set_capabilities(self, vendor: Any, capabilities: Sequence[str]) -> None:
        if not capabilities:
            return
        if not self.features["compute_capabilities"]:
            raise TensorRtError(
                f"TensorRT {self.release} builds for the GPU that it runs on; only TensorRT-RTX "
                f"builds for others, such as {capabilities[0]}"
            )
        vendor.num_compute_capabilities = len(capabilities)
        for index, text in enumerate(capabilities):
            name = text.upper() if text.isalpha() else f"SM{text.replace('.', '')}"
            since = self.log.mark
            if not vendor.set_compute_capability(self.member("ComputeCapability", name), index):
                raise self.failure(f"asking for compute capability {text}", since=since)

    def _add_profile(self, builder: Any, vendor: Any, network: Any, profile: Profile) -> Any:
        inputs = {}
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            inputs[tensor.name] = tensor
        made = builder.create_optimization_profile()
        for name, sizes in profile.shapes.items():
            if name not in inputs:
                raise TensorRtError(
                    f"the profile's {unknown_name(name, tuple(inputs), kind='input')}"
                )
            try:
                if inputs[name].is_shape_tensor:
                    made.set_shape_input(name, *(list(shape) for shape in sizes))
                else:
                    made.set_shape(name, *(self.module.Dims(list(shape)) for shape in sizes))
            except (RuntimeError, TypeError, ValueError) as error:
                raise TensorRtError(
                    f"the profile of input {name!r} is not taken: {error} "
                    "Give --shape with sizes from 1 to 2147483647, min <= opt <= max"
                ) from error
        since = self.log.mark
        if vendor.add_optimization_profile(made) < 0:
            raise self.failure("adding a profile of shapes", since=since)
        return made


def _parser_node(error: Any) -> str | None:
    """Return the node of a parser's error; releases before 10 know its number only."""
    if hasattr(error, "node_name") and error.node_name():
        return f"{error.node_name()!r} ({error.node_operator()})"
    return f"number {error.node()}" if error.node() >= 0 else None


def _name(code: Any) -> str:
    return str(getattr(code, "name", code))
