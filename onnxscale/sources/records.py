"""What a pickle, joblib or skops file holds -> Statistics: an estimator by its class and attributes, or plain statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onnxscale.errors import StatisticsError
from onnxscale.sources import bundles, gyms, pandases, sklearns, torches, visions
from onnxscale.sources.inert import Document, Estimator, Global, plain
from onnxscale.sources.native import from_mapping
from onnxscale.statistics import Reading, Source, Statistics


@dataclass(frozen=True)
class Object:
    """A framework's object. sniff: whether an inert record is one. read: its scalers; raises StatisticsError."""

    name: str
    sniff: Callable[[Estimator], bool]
    read: Callable[[Estimator, Reading, Source], Statistics]


OBJECTS: tuple[Object, ...] = (
    Object("stable-baselines3 and gymnasium", gyms.sniff, gyms.read),
    Object("torchvision transforms", visions.sniff, visions.read),
)


def statistics(document: Document, reading: Reading, source: Source) -> Statistics:
    """Raises StatisticsError naming the class, the attribute or the key that is not known."""
    root = plain(pandases.opened(document.root))
    if isinstance(root, Estimator):
        return estimator(root, reading, source)
    bundled = bundles.scaler(root, reading)
    if bundled is not None:
        inside, features = bundled
        return bundles.named(estimator(inside, reading, source), features)
    if isinstance(root, Mapping):
        found = torches.statistics(root, reading)
        if isinstance(found, Statistics):
            return dataclasses.replace(found, source=located(found.source, source))
        assert isinstance(found, Mapping)
        bundles.closed(found)
        return from_mapping({str(k): v for k, v in found.items()}, reading, source)
    if isinstance(root, list) and root and all(isinstance(row, Mapping) for row in root):
        return from_mapping(root, reading, source)
    raise StatisticsError(
        f"holds {_prose(root)}; expected a fitted scaler of scikit-learn's, or a dictionary of statistics"
    )


def estimator(root: Estimator, reading: Reading, source: Source) -> Statistics:
    """The scalers of one object, of whichever framework. Raises StatisticsError naming its class."""
    row = next((o for o in OBJECTS if o.sniff(root)), None)
    return row.read(root, reading, source) if row else sklearns.statistics(root, source)


def _prose(value: object) -> str:
    if isinstance(value, Estimator):
        return f"a {value.name}"
    if isinstance(value, Global):
        return f"the name {value}"
    return f"a {type(value).__name__}"


def located(read: Source, found: Source) -> Source:
    """What the format's reader knows of the source, and where the file is."""
    return dataclasses.replace(read, format=found.format, path=found.path, sha256=found.sha256)
