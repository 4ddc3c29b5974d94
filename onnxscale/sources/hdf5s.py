"""HDF5: a Keras model or its weights; of any other file, the one group of arrays that is statistics."""

from __future__ import annotations

from collections.abc import Mapping

from onnxscale.sources import groups, keras_models
from onnxscale.sources.hdf5_nodes import Node, opened
from onnxscale.statistics import Reading

MAGIC = b"\x89HDF\r\n\x1a\n"


def sniff(data: bytes, name: str) -> bool:
    del name
    return data.startswith(MAGIC)


def read(data: bytes, reading: Reading) -> object:
    """The scaler of a Keras model or of its weights, else {key: array}. Raises StatisticsError as `opened` and the readers do."""

    def found(nodes: Mapping[str, Node]) -> object:
        if keras_models.has_layers(nodes):
            return keras_models.of_hdf5(nodes, reading)
        arrays = {path.replace("/", "."): node for path, node in nodes.items() if node.shape is not None}
        return groups.statistics(arrays, reading, lambda node: node.read())

    return opened(data, found)
