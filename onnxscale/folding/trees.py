"""Tree ensembles: a monotone scaler goes into the thresholds, exactly; a target scaler into the leaves.

    original   tree(cast(f(float64(x))))      a node asks  cast(f(x_j)) op t
    folded     tree'(x)                       a node asks  x_j op' t'

f is monotone per feature, so both questions can part the raw floats in the same way (thresholds.py finds op' and t' by
bisection). Every row then takes the same path to the same leaf, and leaves are summed as before: outputs are equal bit
for bit, for every raw float there is, infinities and NaN included. What one comparison cannot ask (an equality whose
preimage is several floats wide) takes a second node; the child that both need is the true child of one of them, because
onnxruntime lays the false child next to its parent.

Sources: ONNX ai.onnx.ml TreeEnsembleClassifier and -Regressor 1 to 5, TreeEnsemble 5; onnxruntime's tree_ensemble_common.h
and tree_ensemble_attribute.h (core/providers/cpu/ml): thresholds are compared in the type of the input; NaN compares
false (NEQ: true), or follows nodes_missing_value_tracks_true.

rescale_leaves: scale * (sum or mean of leaves + base) + shift = sum or mean of (scale * leaf) + (scale * base + shift).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import AttributeProto
from onnx.numpy_helper import from_array, to_array

from onnxscale import runs
from onnxscale.folding import thresholds as th
from onnxscale.folding.base import Load, Refusal
from onnxscale.lazy import listed
from onnxscale.step import Array
from onnxscale.transform import Transform
from onnxscale.wire import header

Columns = dict[str, Array]
MODES = (b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GTE", b"BRANCH_GT", b"BRANCH_EQ", b"BRANCH_NEQ")
LEAF = 255
_CODES = {**{name: code for code, name in enumerate(MODES)}, b"LEAF": LEAF}
_BY_WORD = np.array([*_CODES.values()], dtype=np.uint8)
_NAMES = np.array([*MODES, *[b""] * (LEAF - len(MODES)), b"LEAF"], dtype=object)
_TRACKS, _TRUE, _FALSE = "nodes_missing_value_tracks_true", "nodes_truenodeids", "nodes_falsenodeids"
_TRUE_LEAF, _FALSE_LEAF = "nodes_trueleafs", "nodes_falseleafs"
OPERATORS = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")


@dataclass(frozen=True)
class _Nodes:
    """An ensemble's attributes by name and its splits, a row per entry of nodes_*. values: the thresholds' name."""

    attributes: dict[str, AttributeProto]
    values: str
    feature: Array
    mode: Array
    value: Array
    track: Array
    load: Load

    def column(self, name: str) -> Array:
        return column(self.attributes.get(name), self.load)


def rewrite(
    node: onnx.NodeProto, transform: Transform, index: Array, dtype: th.Kind, *, opset: int = 3, load: Load = to_array
) -> onnx.NodeProto | Refusal:
    """The ensemble that takes on raw rows of `dtype` the decisions this one takes on cast(transform(float64(row))).

    index[j]: the (flat) feature of the transform behind column j of the ensemble's input; -1: left alone.
    opset: version of ai.onnx.ml that the model imports; thresholds in float64 need 3.
    """
    nodes = _read(node, load)
    if isinstance(nodes, Refusal):
        return nodes
    dtype, index = np.dtype(dtype), np.asarray(index, dtype=np.int64)
    if dtype.kind != "f" or (nodes.values != "nodes_values" and nodes.value.dtype != dtype):
        return Refusal(f"the input is {dtype.name}, the thresholds are {nodes.value.dtype.name}")
    if nodes.feature.max(initial=-1) >= len(index):
        return Refusal(f"the trees read column {int(nodes.feature.max())} of an input of {len(index)} columns")
    feature = index[nodes.feature]
    touched = (nodes.mode != LEAF) & (feature >= 0) & ~_bare(nodes)
    if not touched.any():
        return _with(node, {}, {})
    if opset < 3 and dtype == np.float64:
        return Refusal(f"float64 thresholds need ai.onnx.ml 3, the model imports {opset}")
    mode, value, track = nodes.mode.copy(), nodes.value.astype(dtype), nodes.track.copy()
    columns: Columns = {"nodes_modes": mode, nodes.values: value, _TRACKS: track}
    member = touched & (mode == th.MEMBER)
    if member.any():
        sets = _members(nodes, member, feature, track, transform)
        if isinstance(sets, Refusal):
            return sets
        columns["membership_values"] = sets
    rows = np.flatnonzero(touched & ~member)
    made = th.raw(th.Splits(feature[rows], mode[rows], value[rows], track[rows], value[rows]), transform)
    if isinstance(made, Refusal):
        return made
    mode[rows], value[rows], track[rows] = made.mode, made.value, made.track
    two = made.mode >= th.WITHIN
    doubled = _double(node, nodes, columns, rows[two], made.upper[two]) if two.any() else columns
    if isinstance(doubled, Refusal):
        return doubled
    return _with(node, doubled, {"nodes_modes": nodes.mode, _TRACKS: nodes.track, nodes.values: nodes.value})


def thresholds_of(node: onnx.NodeProto, load: Load = to_array) -> tuple[Array, Array] | Refusal:
    """Column and threshold (float64) of every split, members of sets included: where a decision can turn."""
    nodes = _read(node, load)
    if isinstance(nodes, Refusal):
        return nodes
    plain = (nodes.mode != LEAF) & (nodes.mode != th.MEMBER) & ~_bare(nodes)
    values = nodes.column("membership_values").astype(np.float64)
    owner = _owners(nodes, values)
    features = np.append(nodes.feature[plain], nodes.feature[owner[owner >= 0]])
    return features, np.append(nodes.value[plain], values[owner >= 0])


def column(attribute: AttributeProto | None, load: Load = to_array) -> Array:
    """The numbers of an attribute, as numpy has them; none for an attribute that is not there."""
    if attribute is None:
        return np.zeros(0, dtype=np.int64)
    if attribute.type == AttributeProto.TENSOR:
        return np.asarray(load(attribute.t)).ravel()
    if listed(attribute) is not None:
        return load(attribute)
    if attribute.type == AttributeProto.FLOATS:
        return np.array(attribute.floats, dtype=np.float32)
    return np.array(attribute.ints, dtype=np.int64)


def _read(node: onnx.NodeProto, load: Load) -> _Nodes | Refusal:
    attributes = {a.name: a for a in node.attribute}
    if node.op_type not in OPERATORS or any(a.ref_attr_name for a in node.attribute):
        return Refusal(f"{node.op_type} is not a tree ensemble, or has attributes that a function leaves open")
    feature = column(attributes.get("nodes_featureids"), load)
    if node.op_type == "TreeEnsemble":
        values, mode = "nodes_splits", column(attributes.get("nodes_modes"), load).astype(np.uint8)
        if (mode > th.MEMBER).any():
            return Refusal(f"unknown mode of a tree node: {int(mode.max())}")
    else:
        values = "nodes_values_as_tensor" if "nodes_values_as_tensor" in attributes else "nodes_values"
        found = _modes(attributes.get("nodes_modes"), load)
        if isinstance(found, Refusal):
            return found
        mode = found
    value, track = column(attributes.get(values), load), column(attributes.get(_TRACKS), load) == 1
    track = np.append(track, np.zeros(max(0, len(feature) - len(track)), dtype=np.bool_))
    if not len(feature) == len(mode) == len(value) == len(track):
        return Refusal(f"nodes_featureids has {len(feature)} values, nodes_modes {len(mode)}, {values} {len(value)}")
    return _Nodes(attributes, values, feature, mode, value, track, load)


def _modes(attribute: AttributeProto | None, load: Load) -> Array | Refusal:
    """The codes of nodes_modes in words."""
    if attribute is None:
        return np.zeros(0, dtype=np.uint8)
    if listed(attribute) is not None:
        codes = runs.words(load(attribute).tobytes(), tuple(_CODES))
        return Refusal("unknown mode of a tree node") if codes is None else _BY_WORD[codes]
    try:
        return np.fromiter(map(_CODES.__getitem__, attribute.strings), np.uint8, len(attribute.strings))
    except KeyError as error:
        return Refusal(f"unknown mode of a tree node: {error}")


def _bare(nodes: _Nodes) -> Array:
    """Entries of a TreeEnsemble that stand for a tree of one leaf: both children are that leaf, nothing is asked."""
    if _TRUE_LEAF not in nodes.attributes:
        return np.zeros(len(nodes.mode), dtype=np.bool_)
    true, false, leaf, other = (nodes.column(name) for name in (_TRUE, _FALSE, _TRUE_LEAF, _FALSE_LEAF))
    return np.asarray((true == false) & (leaf != 0) & (other != 0))


def _owners(nodes: _Nodes, values: Array) -> Array:
    """The node that each of membership_values belongs to, -1 for the NaN between two sets."""
    owners = np.append(np.flatnonzero(nodes.mode == th.MEMBER), -1)
    position = np.minimum(np.cumsum(np.isnan(values)), len(owners) - 1)
    return np.where(np.isnan(values), -1, owners[position])


def _members(nodes: _Nodes, member: Array, feature: Array, track: Array, transform: Transform) -> Array | Refusal:
    """membership_values for raw input: each member must come from one raw float. Writes the members' tracks.

    onnxruntime asks for equality only while a set has at most 30 members from 0 to 30; beyond, it truncates the input."""
    values = nodes.column("membership_values").astype(nodes.value.dtype)
    owner = _owners(nodes, values)
    at = np.flatnonzero((owner >= 0) & member[owner])
    equal, of = np.full(at.size, th.EQ, dtype=np.uint8), owner[at]
    made = th.raw(th.Splits(feature[of], equal, values[at], nodes.track[of], values[at]), transform)
    if isinstance(made, Refusal):
        return made
    if (made.mode != th.EQ).any():
        return Refusal("a member of a set (BRANCH_MEMBER) is the image of no raw float, or of several")
    if np.bincount(of).max() > 30 or any(((v < 0) | (v > 30)).any() for v in (values[at], made.value)):
        return Refusal("a set (BRANCH_MEMBER) of more than 30 members, or of others than 0 to 30, truncates its input")
    values[at] = made.value
    track[member] = False
    np.logical_or.at(track, of, made.track)
    return values


def _double(node: onnx.NodeProto, nodes: _Nodes, columns: Columns, rows: Array, upper: Array) -> Columns | Refusal:
    """Every nodes_* column, with a second node for each of `rows`, whose mode is WITHIN or OUTSIDE.

    WITHIN [a, b]:  x < a ? F : (x <= b ? T : F)      OUTSIDE:  x < a ? T : (x > b ? T : F)
    NaN answers no to the first question, so the second one's track decides.
    """
    others = [name for name in nodes.attributes if name.startswith("nodes_") and name not in columns]
    every = {name: nodes.column(name) for name in others} | columns
    every = {name: values.copy() for name, values in every.items() if len(values)}
    total, five = len(nodes.mode), node.op_type == "TreeEnsemble"
    within = every["nodes_modes"][rows] == th.WITHIN
    if five:
        shared = np.where(within, every[_FALSE_LEAF][rows], every[_TRUE_LEAF][rows])
        if not shared.all():
            return Refusal("an equality split whose value comes from several raw floats would copy a whole subtree")
        new, place = total + np.arange(len(rows)), np.full(len(rows), total)
    else:
        tree = every["nodes_treeids"]
        _, inverse = np.unique(tree, return_inverse=True)
        most = np.zeros(inverse.max() + 1, dtype=np.int64)
        np.maximum.at(most, inverse, every["nodes_nodeids"])
        begin = np.flatnonzero(np.diff(tree, prepend=tree[0] - 1))
        place = np.append(begin, total)[np.searchsorted(begin, rows, side="right")]
        order = np.argsort(inverse[rows], kind="stable")
        sorted_ = inverse[rows][order]
        new = np.empty(len(rows), dtype=np.int64)
        new[order] = most[sorted_] + 1 + np.arange(len(rows)) - np.searchsorted(sorted_, sorted_)
    second = {name: values[rows].copy() for name, values in every.items()}
    second["nodes_modes"], second[nodes.values] = np.where(within, th.LEQ, th.GT).astype(np.uint8), upper
    second |= {} if five else {"nodes_nodeids": new}
    every["nodes_modes"][rows], every[_TRACKS][rows] = th.LT, False
    for true, false, self in ((_TRUE, _FALSE, new), (_TRUE_LEAF, _FALSE_LEAF, 0 * new)):
        if true in every:
            every[true][rows] = np.where(within, every[false][rows], every[true][rows])
            every[false][rows] = self
    return columns | {name: np.insert(values, place, second[name]) for name, values in every.items()}


def _with(node: onnx.NodeProto, columns: Columns, same: Columns) -> onnx.NodeProto:
    """A copy of the node with these columns for its own; one as in `same` stays. Floats in float64 become a tensor."""
    new = onnx.NodeProto()
    new.CopyFrom(node)
    made = {a.name: a for a in new.attribute}
    for name, values in columns.items():
        if name in same and values.dtype == same[name].dtype and np.array_equal(values, same[name]):
            continue
        kind = AttributeProto.FLOATS if values.dtype.kind == "f" else AttributeProto.INTS
        old = made[name] if name in made else new.attribute.add(name=name, type=kind)
        if listed(old) is not None:
            old.ClearField("doc_string")
        if old.type == AttributeProto.TENSOR:
            old.t.CopyFrom(from_array(values, old.t.name or name))
        elif old.type == AttributeProto.STRINGS:
            old.CopyFrom(AttributeProto(name=name, type=old.type, strings=_NAMES[values].tolist()))
        elif old.type == AttributeProto.INTS:
            old.CopyFrom(AttributeProto(name=name, type=old.type, ints=values.astype(np.int64).tolist()))
        elif values.dtype == np.float64:
            tensor = f"{name}_as_tensor"
            old.CopyFrom(AttributeProto(name=tensor, type=AttributeProto.TENSOR, t=from_array(values, tensor)))
        else:  # packed: a parser reads it as it reads the list, many times faster
            old.ClearField("floats")
            old.MergeFromString(
                header(AttributeProto.FLOATS_FIELD_NUMBER, values.size * 4) + values.astype("<f4").tobytes()
            )
    return new


def _all_vote(given: dict[str, AttributeProto], targets: int, load: Load) -> bool:
    """Whether no row leaves a target without a vote: onnxruntime answers 0 for it, without its base value."""
    votes = np.stack([column(given[f"target_{part}"], load) for part in ("treeids", "nodeids", "ids")])
    modes = _modes(given.get("nodes_modes"), load)
    leaves = 0 if isinstance(modes, Refusal) else np.count_nonzero(modes == LEAF)
    return len(np.unique(votes, axis=1).T) == targets * leaves


def rescale_leaves(
    node: onnx.NodeProto, scale: Array, shift: Array, load: Load = to_array
) -> tuple[onnx.NodeProto, Array] | Refusal:
    """The ensemble that answers scale * answer + shift (one value, or one per target), and per target an error bound.

    The bound, on the difference from that affine in float64: new weights rounded, the sums of both nodes in any order
    (Higham 2002, (4.4)), a Regressor's answer in float32.
    """
    given, five = {a.name: a for a in node.attribute}, node.op_type == "TreeEnsemble"
    name, ids = ("leaf_weights", "leaf_targetids") if five else ("target_weights", "target_ids")
    name, based = (f"{n}_as_tensor" if f"{n}_as_tensor" in given else n for n in (name, "base_values"))
    if name not in given:
        return Refusal(f"{node.op_type} has no leaves that a target scaler could scale")
    asked = (given.get(n, AttributeProto(i=d)) for n, d in (("aggregate_function", 1), ("post_transform", 0)))
    aggregate, after = (a.s.decode() or a.i for a in asked)
    aggregate = {"0": "AVERAGE", "1": "SUM", "2": "MIN", "3": "MAX"}.get(str(aggregate), str(aggregate))
    if after not in (0, "NONE"):
        return Refusal(f"post_transform {after} comes between the leaves and the scaler")
    old, target, targets = (
        column(given[name], load),
        column(given[ids], load),
        max(1, given.get("n_targets", AttributeProto()).i),
    )
    base = column(given[based], load) if based in given else np.zeros(targets)
    scale, shift = (np.broadcast_to(np.asarray(v, dtype=np.float64), (targets,)) for v in (scale, shift))
    if aggregate in ("MIN", "MAX") and (scale < 0).any():
        return Refusal(f"a negative scale turns {aggregate} into its opposite")
    if base.size != targets or (targets > 1 and shift.any() and (five or not _all_vote(given, targets, load))):
        return Refusal(f"a shift of {targets} targets needs as many base values, and leaves that vote for all of them")
    roots = column(given["tree_roots" if five else "nodes_treeids"], load)
    trees = len(roots if five else np.unique(roots))
    count = trees if aggregate == "SUM" else 1
    weights, bases = old.astype(np.float64) * scale[target], base.astype(np.float64) * scale + shift
    if five:  # it has no base values: every tree votes once, so each leaf takes its part of the shift
        weights, bases = weights + shift[target] / count, np.zeros(targets)
    with np.errstate(over="ignore"):
        columns = {name: weights.astype(old.dtype)} | ({} if five else {based: bases.astype(old.dtype)})
    if not all(np.isfinite(v).all() for v in columns.values()):
        return Refusal(f"the scaled leaves do not fit into {old.dtype.name}")
    largest = np.zeros(targets), np.zeros(targets)
    np.maximum.at(largest[0], target, np.abs(old.astype(np.float64)))
    np.maximum.at(largest[1], target, np.abs(weights))
    size = np.abs(scale) * (largest[0] * count + np.abs(base)) + largest[1] * count + np.abs(bases)
    kind, single = np.finfo(old.dtype), float(np.finfo(np.float32).eps)
    bound = size * ((trees + 3) * kind.eps + single) / 2 + (trees + 3) * kind.tiny
    return _with(node, columns, {} if based in given else {based: np.zeros(targets, dtype=old.dtype)}), bound
