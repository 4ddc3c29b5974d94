"""The flow of one bake, and what else is done with a baked file: the functions that the command line and Python call.

statistics -> plan -> edit -> verify -> record -> save
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from onnxscale import (
    baking,
    destination,
    modelfile,
    origins,
    pieces,
    planning,
    preflight,
    proving,
    rebaking,
    recognition,
    record,
    remote,
    saving,
    spilling,
    verifying,
)
from onnxscale.baking import Edited
from onnxscale.comparing import DIFFERS, Comparison
from onnxscale.digests import Ahead
from onnxscale.errors import OutputError, PlanError, Unread
from onnxscale.modelfile import ModelFile
from onnxscale.pieces import Piece
from onnxscale.plans import Options, Placement, Plan
from onnxscale.statistics import Reading
from onnxscale.step import Array
from onnxscale.verifying import Golden, Subject

IN_MEMORY = 1 << 26
SPILLED = "the result would pass protobuf's limit of 2 GB: its large constants go to a data file beside it"
DATA = ("share", "copy", "link")
Rows = Mapping[str, Array] | Callable[[Sequence[Placement]], Mapping[str, Array]]
Model = str | os.PathLike[str] | bytes | onnx.ModelProto
Tell = Callable[[int], None]


def _quiet(count: int) -> None:
    del count


def opened(source: Model) -> ModelFile:
    """Open a model and check what must be checked before anything native sees it; one behind a URL is fetched.
    Raises ModelError."""
    far = isinstance(source, str) and remote.is_url(source)
    model = modelfile.far_model(str(source)) if far else modelfile.open_model(source)
    preflight.check(model)
    return model


@dataclass(frozen=True, eq=False)
class Baked:
    """A model with its scaler inside, not yet saved. comparison: what `verify` found, None before.
    as_nodes: makes it with nodes instead, where folding was a choice of ours."""

    original: ModelFile
    plan: Plan
    edited: Edited
    comparison: Comparison | None = None
    golden: Golden | None = None
    as_nodes: Callable[[], Baked] | None = None

    @property
    def folds(self) -> bool:
        """Whether the model's own operators absorb a scaler, in part at least."""
        return any(p.form == "fold" for p in self.plan.placements)

    def record(self, sha256: str | None = None) -> Mapping[str, Any]:
        """What goes into the model's metadata. sha256: of the original, where the caller knows it."""
        known = sha256 or self.original.sha256()
        return record.make(self.original, self.plan, self.edited, self.comparison, self.golden, known)

    def file(self, sha256: Callable[[], str] | None = None) -> Iterator[Piece]:
        """The pieces of the baked file; sha256 of the original is asked for when all but the record is written."""
        yield from self.edited.pieces
        yield baking.entry(self.record(sha256() if sha256 else None))

    def _sha256(self, ahead: Ahead | None) -> str:
        known = None if ahead is None else ahead.of(self.original.stamp)
        return known or self.original.sha256()

    def to_bytes(self) -> bytes:
        """The baked model as the bytes of an ONNX file."""
        return self.original.bytes_of(self.file())

    def to_proto(self) -> onnx.ModelProto:
        return onnx.ModelProto.FromString(self.to_bytes())

    def verify(
        self, data: Mapping[str, Array] | None = None, *, seed: int = 0, seconds: float = 300, tell: Tell = _quiet,
        limit: int | None = None,
    ) -> Baked:  # fmt: skip
        """Run the original and the baked model and compare; the result holds the Comparison. See verifying.verify.

        limit: a model of more bytes, external data included, is proved instead (proving.py); by default a quarter of
        the machine's memory. Where a fold that nobody asked for DIFFERS, or proves nothing, the result is the model
        with nodes, verified, and a note says so.
        """
        how: dict[str, Any] = {"data": data, "seed": seed, "seconds": seconds, "tell": tell}
        with self._runnable() as content:
            subject = Subject(self.edited.proto, self.original, content, self.edited.seams)
            comparison, golden = _compared(
                self.original, subject, self.plan, limit, how, prove=spilling.needed(self.edited)
            )
        told = comparison.verdict == DIFFERS or comparison.how == "proof" or comparison.rows > 0
        if not comparison.verified and told and self.as_nodes is not None:
            made = self.as_nodes().verify(data, seed=seed, seconds=seconds, tell=tell, limit=limit)
            assert made.comparison is not None
            said = comparison.verdict if comparison.verdict == DIFFERS else f"is {comparison.verdict}"
            note = f"folded, the model {said} ({comparison.reason}); its scaler is baked as nodes instead"
            return replace(made, comparison=replace(made.comparison, notes=(note, *made.comparison.notes)))
        return replace(self, comparison=comparison, golden=golden)

    @contextmanager
    def _runnable(self) -> Iterator[bytes | str]:
        """The baked model for onnxruntime: its bytes, or for a large one a file that holds them."""
        if pieces.size(self.edited.pieces) <= IN_MEMORY:
            yield self.original.bytes_of(self.edited.pieces)
        else:
            with saving.scratch(self.original, self.edited.pieces) as path:
                yield path

    def check_output(self, path: str | os.PathLike[str], *, force: bool = False, in_place: bool = False) -> None:
        """Raises OutputError where it can be seen beforehand that `save` would."""
        out = Path(os.path.abspath(path))
        if self.original.path and destination.same_file(self.original.path, out) and not in_place:
            raise OutputError(
                f"{path}: is the model itself; pass --in-place to replace it, or name another output with -o"
            )
        for location, data in destination.data_files(self.original).items():
            if destination.same_file(data, out):
                raise OutputError(f"{path}: holds the model's weights; name another output with -o")
            if destination.beside(self.original, out) and not data.is_relative_to(os.path.realpath(out.parent)):
                raise OutputError(
                    f"{path}: would lie beside {location!r}, a link out of that folder, which no runtime follows from there; "
                    f"name an output in another folder with -o, and the data are copied to it"
                )
        saving.check(out, replace=force or in_place or destination.replaceable(out, baked=True))

    def save(
        self, path: str | os.PathLike[str], *, force: bool = False, in_place: bool = False, tell: Tell = _quiet,
        data: str = "share", ahead: Ahead | None = None,
    ) -> Path:  # fmt: skip
        """Write the model, complete or not at all. Raises OutputError.

        A baked model that is there is replaced: it can be made again. force: replace any file; in_place: even the original.
        data: of external data, "share" those of the original where `path` is in its folder, else copy them beside `path`;
        "copy" makes the model its own in any case; "link" makes hard links where others copy. ahead: the original's sha256 in the
        making (digests.py).
        """
        if data not in DATA:
            raise OutputError(f"data={data!r}: unknown; choose one of {', '.join(DATA)}")
        self.check_output(path, force=force, in_place=in_place)
        out = Path(os.path.realpath(path) if in_place else os.path.abspath(path))  # a link stays one
        self.original.unchanged()
        ours = force or in_place or destination.replaceable(out, baked=True)
        names = destination.copies(self.original, out) if data == "copy" and not in_place else {}
        edited = baking.relocated(self.original, self.edited, names)
        content: pieces.Pieces = []
        if spilling.needed(edited):
            edited, content = spilling.spilled(self.original, edited, f"{out.stem}.data")
        placed = replace(self, edited=edited)
        files = destination.carried(self.original, out, names, link=data == "link")
        own = destination.held(self.original, content, out.with_name(f"{out.stem}.data"), replace=ours)
        with files, own, ThreadPoolExecutor(1) as hashing:  # hashed while it is copied
            digest = hashing.submit(self._sha256, ahead)
            saving.save(self.original, placed.file(digest.result), out, replace=ours, progress=tell)
        return out


def bake(
    model: Model,
    scaler: object,
    *,
    target: object = None,
    options: Options | None = None,
    reading: Reading | None = None,
    **asked: Any,
) -> Baked:
    """Put a scaler inside a model. Nothing is written and nothing is run: see Baked.verify and Baked.save.

    model: a path, a URL, the bytes of an ONNX file, or a ModelProto. scaler: a statistics file or its URL, a dict, a
    Scaler, or a fitted scikit-learn object. target: the same for the training target; its inverse goes onto an output.
    Further keywords are those of plans.Options: input, output, axis, precision, form, input_dtype, again.
    Raises ModelError, StatisticsError or PlanError, saying what was found, what was expected and what to do.
    """
    options = replace(options or Options(), **asked)
    reading = reading or Reading()
    wanted = None if target is None else origins.read(target, reading)
    try:
        statistics = origins.read(scaler, reading)
    except Unread as unread:
        if options.guard or options.guard_stats:
            raise PlanError(
                "a guard watches the columns of a scaler, and this transformer is converted as a whole: bake it without --guard"
            ) from None
        from onnxscale import converting  # here: most bakes convert nothing, and it costs their start-up

        return Baked(*converting.bake(opened(model), unread, options, wanted))
    opened_model = opened(model)
    plan = planning.plan(opened_model, statistics, options, wanted)
    if reading.strict and plan.warnings:
        raise PlanError(f"--strict: {'; '.join(plan.warnings)}")
    edited = baking.apply(opened_model, plan, image_keys(plan))
    if spilling.needed(edited):
        plan = replace(plan, notes=(*plan.notes, SPILLED))
    baked = Baked(opened_model, plan, edited)
    if options.form != "auto" or not baked.folds:
        return baked
    nodes = replace(options, form="nodes")
    return replace(baked, as_nodes=lambda: bake(model, statistics, target=wanted, options=nodes))


def _compared(
    original: ModelFile, subject: Subject, plan: Plan, limit: int | None, how: Mapping[str, Any], *, prove: bool = False
) -> tuple[Comparison, Golden | None]:
    """Both models run, or the one proved to be the other where they are larger than `limit` bytes."""
    if plan.converted is not None:
        from onnxscale import converting

        return converting.verify(original, subject, plan, **how)
    most = proving.default_limit() if limit is None else limit
    if proving.size(original) <= most and not prove:
        return verifying.verify(original, subject, plan, **how)
    with modelfile.open_model(subject.content) as written:
        whole = replace(subject, proto=written.skeleton, model=replace(written, path=subject.model.path))
        return proving.prove(original, whole, plan, most, **how), None


def image_keys(plan: Plan) -> dict[str, str]:
    """The ONNX image metadata that the scalers' sources speak of (onnx/docs/MetadataProps.md)."""
    return {k: v for p in plan.placements for k, v in p.fitted.layout.items()}


def verify(
    baked: Model, against: Model, scaler: object, *, target: object = None, data: Rows | None = None,
    options: Options | None = None, reading: Reading | None = None, seed: int = 0, seconds: float = 300,
    limit: int | None = None,
) -> Comparison:  # fmt: skip
    """Check a baked file against the original model and the statistics: the same check as in a bake, on its own.

    How the scaler was written (precision, types, axis) is taken from the record of the baked file where it has one.
    data: raw rows by input name, or a function that reads them once the placements are known. limit: see Baked.verify.
    """
    subject, original = opened(baked), opened(against)
    reading = reading or Reading()
    wanted = None if target is None else origins.read(target, reading)
    held = recognition.recorded(subject)
    try:
        statistics = origins.read(scaler, reading)
    except Unread as unread:
        from onnxscale import converting

        again = replace(options or Options(), again=True)
        original, plan, _ = converting.bake(original, unread, rebaking.fed(again, held), wanted)
        assert plan.converted is not None
        seams = rebaking.seams(held)
        if ("input", plan.converted.spec.name) not in seams:
            return Comparison(
                DIFFERS, "the baked file carries no transformer that was converted", seed, 0, (), (), (), {}
            )
        content = str(subject.path) if subject.path else subject.read(0, len(subject.data))
        own = data(plan.placements) if callable(data) else data
        how: dict[str, Any] = {"data": own, "seed": seed, "seconds": seconds}
        return converting.verify(original, Subject(subject.skeleton, subject, content, seams), plan, **how)[0]
    held = recognition.recorded(subject)
    chosen = rebaking.as_baked(options or Options(), held, subject, statistics)
    plan = planning.plan(original, statistics, chosen, wanted)
    missing = rebaking.unmatched(held, plan)
    if missing:
        return Comparison(DIFFERS, missing, seed, 0, (), (), (), {})
    proto = subject.skeleton
    content = str(subject.path) if subject.path else subject.read(0, len(subject.data))
    whole = Subject(proto, subject, content, rebaking.seams(held))
    rows = data(plan.placements) if callable(data) else data
    return _compared(original, whole, plan, limit, {"data": rows, "seed": seed, "seconds": seconds})[0]


def unbake(model: Model, out: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Restore the original of a baked file, byte for byte, to `out`. Raises ModelError where it cannot be restored.

    A model without a scaler that is there is replaced. force: replace any file.
    """
    far = isinstance(model, str) and remote.is_url(model)
    baked = modelfile.far_model(str(model)) if far else modelfile.open_model(model)
    path = Path(os.path.abspath(out))
    ours = force or destination.replaceable(path, baked=False)
    with baking.whole(baked) as source:
        parts = baking.unbake(source)
        saving.check(path, replace=ours)
        with destination.carried(baked, path, without=spilling.location(baked)):
            saving.save(source, parts, path, replace=ours)
    return path


__all__ = ["Baked", "Model", "bake", "opened", "unbake", "verify"]
