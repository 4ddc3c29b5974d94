"""What is read of one file, whatever it is: plain frozen values that travel between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxscale.auditing.finding import Where
from onnxscale.spaces import Space
from onnxscale.step import Array


@dataclass(frozen=True, slots=True)
class Ref:
    """A constant that the file does not hold. role: "mean", "std", ... by its name, or "". text: as it is written. module,
    name: where it is imported from, or ""; `a.b#1` is the second of what a.b holds. root: its square root is meant."""

    role: str
    text: str
    module: str = ""
    name: str = ""
    root: bool = False


Operand = Array | Ref


@dataclass(frozen=True, eq=False, slots=True)
class Norm:
    """One place that normalizes.

    steps: (ONNX operator, operand) in order; an operand that is known only at run time is a Ref. by: "code", "scaler" (an
    object of a library), "config" (a runtime applies it), "statistics", "prose". text: as it is written. function: around it, "" for
    none. role: "train", "serve", "test" or "". unit: the largest raw value (255 or 1) where the code says so, else 0.
    own: by the data's own mean and std. names: of the features, or (). written: a mean and a std as they stand. root: what the
    data are called. after: the imported function that gave them, or "". before: functions that were applied first, as log1p.
    rgb: whether the code itself puts the pixels red first.
    """

    where: Where
    steps: tuple[tuple[str, Operand], ...]
    by: str
    text: str
    function: str = ""
    role: str = ""
    unit: float = 0.0
    own: bool = False
    names: tuple[str, ...] = ()
    written: tuple[Array | None, Array | None] = (None, None)
    root: str = ""
    after: str = ""
    before: tuple[str, ...] = ()
    rgb: bool = False


@dataclass(frozen=True, slots=True)
class Fit:
    """A scaler that is fitted. on: the names in its arguments. kept: the names its result, or the scaler, goes by."""

    where: Where
    text: str
    of: str
    on: tuple[str, ...]
    kept: tuple[str, ...]
    function: str
    role: str


@dataclass(frozen=True, slots=True)
class Split:
    """train_test_split. of: the names that are split."""

    where: Where
    of: tuple[str, ...]
    function: str


@dataclass(frozen=True, slots=True)
class Unsafe:
    """A load that runs what the file says. sure: False where it depends on the library's version."""

    where: Where
    text: str
    sure: bool
    role: str


@dataclass(frozen=True, slots=True)
class Mention:
    """A file named in code. how: "reads", "writes" or "names"."""

    where: Where
    name: str
    how: str
    role: str


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """A model that is run. steps: what was done to what it is fed, None where that is not known; at: where. model: the file,
    or "". root, unit: of what it is fed, as in Norm. touched: something besides was computed with it."""

    where: Where
    text: str
    steps: tuple[tuple[str, Operand], ...] | None
    model: str
    function: str
    role: str
    at: Where | None = None
    root: str = ""
    unit: float = 0.0
    touched: bool = False


@dataclass(frozen=True, slots=True)
class Pixels:
    """Images as OpenCV reads them (BGR), or as Pillow does (straight: RGB). turned: whether the channels are turned to the
    other order in the same file."""

    where: Where
    turned: bool
    straight: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """An ONNX model. inputs: name -> shape; spaces: input -> what its own operators see, where the file scales it itself.
    how: "baked", "recognized" or "bare". outputs: name -> shape. digest: of its bytes, "" where they were not all read."""

    where: Where
    how: str
    inputs: Mapping[str, tuple[int | str | None, ...] | None]
    outputs: Mapping[str, tuple[int | str | None, ...] | None]
    spaces: Mapping[str, Space]
    unscaled: tuple[str, ...]
    digest: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """A statistics file, or a runtime's settings. kind: the format. norm: what it makes of values. config: whether a runtime
    applies it. target: whether it is for outputs. model: the model file that it names, or "". reverse: whether it says that
    the channels are blue first."""

    where: Where
    kind: str
    norm: Norm
    space: Space
    config: bool
    target: bool
    digest: str
    model: str = ""
    lint: tuple[tuple[str, str], ...] = ()
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """The widths of inputs that a registry (MLflow) says a model has. model: the file that it names, or ""."""

    where: Where
    widths: tuple[int, ...]
    model: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """A file that cannot be read as what it is. unsafe: it would run code when it is loaded."""

    where: Where
    reason: str
    unsafe: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Facts:
    """All that one file says. feeds: of a Triton ensemble, which model gives to which. pairs: a mean and a std that something
    is given. ignores: line -> rules that are not to be reported there, () for all of them."""

    path: str
    kind: str
    role: str = ""
    norms: tuple[Norm, ...] = ()
    fits: tuple[Fit, ...] = ()
    splits: tuple[Split, ...] = ()
    unsafe: tuple[Unsafe, ...] = ()
    mentions: tuple[Mention, ...] = ()
    runs: tuple[Run, ...] = ()
    pixels: tuple[Pixels, ...] = ()
    models: tuple[Model, ...] = ()
    tables: tuple[Table, ...] = ()
    signatures: tuple[Signature, ...] = ()
    feeds: tuple[tuple[str, str], ...] = ()
    pairs: tuple[tuple[Where, str, Array, Array], ...] = ()
    troubles: tuple[Trouble, ...] = ()
    constants: Mapping[str, Array] = field(default_factory=dict)
    imports: tuple[tuple[str, tuple[str, ...]], ...] = ()
    ignores: Mapping[tuple[int, int], tuple[str, ...]] = field(default_factory=dict)
