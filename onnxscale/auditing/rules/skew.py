"""Training normalizes in one way and serving in another: other constants, another order of channels, another unit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from onnxscale.auditing import comparing, graph
from onnxscale.auditing.facts.base import Facts, Norm, Ref
from onnxscale.auditing.finding import Finding
from onnxscale.auditing.graph import Repository
from onnxscale.auditing.rules.base import Rule

SKEW = Rule(
    "train-serve-skew", "error", "training and serving normalize differently",
    "take the constants from one place: bake them into the model, or read one statistics file in both",
)  # fmt: skip
ORDER = Rule(
    "channel-order", "error", "the same constants in another order of channels (RGB and BGR), or pixels in another order",
    "turn the channels to the order of training, or the constants to that of the pixels",
)  # fmt: skip
UNIT = Rule(
    "unit-mismatch", "error", "constants for values of 0 to 1 meet values of 0 to 255, or the other way round",
    "divide the pixels by 255 before constants of 0 to 1, and not before constants of 0 to 255",
)  # fmt: skip
_WORDS = {
    "constants": (SKEW, "normalizes with other constants than {}"),
    "order": (ORDER, "normalizes with the constants of {} in another order of channels"),
    "unit": (UNIT, "normalizes pixels of another range than {}"),
}


def check(repo: Repository) -> Iterator[Finding]:
    trained = list(_trained(repo))
    sized: dict[int, list[tuple[str, Norm]]] = {}
    for path, norm in trained:
        if comparing.is_full(norm) and comparing.known(norm) is not None:
            sized.setdefault(comparing.width(norm), []).append((path, norm))
    by_training = {t.where.path for c in repo.code if c.role == "train" for t in graph.tables_of(repo, c)}
    kinds = {(c.path, f.of) for c in repo.code for f in c.fits if f.role == "train"}
    for code in repo.code:
        if code.role == "test":
            continue
        serving = [n for n in graph.norms_of(repo, code) if (n.role == "serve" or n.by == "config") and not n.own]
        models = graph.models_of(repo, code)
        if models and all(m.spaces for m in models):
            continue  # what scales there is scaled twice, which is said elsewhere
        mine = [n for n in serving if n.where.path == code.path]
        own = {t.where.path for t in graph.tables_of(repo, code)} - by_training
        for norm in mine:
            found = _against(norm, sized, own) or _bent(norm, code, sized)
            if found is not None:
                yield found
        yield from _partly(code, serving, trained)
        yield from _other_kind(mine, {(p, of) for p, of in kinds if graph.related(p, code.path)})
    for tables in repo.tables.values():
        for table in tables:
            if table.config and not table.target:
                found = _against(table.norm, sized)
                if found is not None:
                    yield found
    coded = {w: [(p, n) for p, n in listed if n.by == "code"] for w, listed in sized.items()}
    for model in repo.models.values() if any(coded.values()) else ():
        for inside in comparing.carried(model):
            found = _against(inside, coded)
            if found is not None:
                yield found


def _trained(repo: Repository) -> Iterator[tuple[str, Norm]]:
    for code in repo.code:
        if code.role != "test":
            for n in graph.norms_of(repo, code):
                if (n.role or code.role) == "train" and not n.own:
                    yield n.where.path, n
            if code.role == "train" and not code.norms:  # a configuration, for a framework that scales
                for where, text, mean, std in graph.pairs_of(code):
                    if mean.size == 3 and (std > 0).all():
                        yield (
                            code.path,
                            Norm(where, (("Sub", mean), ("Div", std)), "code", text, role="train", written=(mean, std)),
                        )
    for path, tables in repo.tables.items():
        yield from ((path, t.norm) for t in tables if not t.config and not t.target)


def _against(norm: Norm, sized: Mapping[int, Sequence[tuple[str, Norm]]], own: Collection[str] = ()) -> Finding | None:
    """Against what training does with as many features, nearest first; the same anywhere near is enough. own: statistics that
    serving alone reads: that they agree with it says nothing of training."""
    width = comparing.width(norm)
    one = comparing.known(norm)
    if one is None or comparing.is_rescale(norm) or width < 1 or ((one[0] == 0).all() and (one[1] == 1).all()):
        return None
    others = sized.get(width, ())
    fitting = [(p, n) for p, n in others if (n.where.path, n.function) != (norm.where.path, norm.function)]
    fitting = [(p, n) for p, n in fitting if p not in own or comparing.differs(norm, n)]
    near = graph.nearest(norm.where.path, fitting)
    reasons = [comparing.differs(norm, n) for n in near]
    if not near or "" in reasons:
        return None
    at = next((i for i, r in enumerate(reasons) if r in ("order", "unit")), 0)
    if reasons[at] not in _WORDS:
        return None
    rule, message = _WORDS[reasons[at]]
    match = near[at]
    evidence = f"{norm.text}: {comparing.shown(norm)}  ~  {match.text}: {comparing.shown(match)}"
    return rule.at(norm.where, message.format(match.where), evidence, match.where)


def _bent(norm: Norm, code: Facts, sized: Mapping[int, Sequence[tuple[str, Norm]]]) -> Finding | None:
    """The same constants, of logarithms in training, and in serving of the values as they come, in one function with the run."""
    if norm.before or not any(r.at == norm.where and not r.touched for r in code.runs):
        return None
    near = graph.nearest(norm.where.path, sized.get(comparing.width(norm), ()))
    same = [n for n in near if comparing.known(n) is not None and not comparing.differs(norm, n)]
    if not same or not all(n.before for n in same):
        return None
    said = f"scales without {same[0].before[0]}, which {same[0].where} applies first"
    return SKEW.at(norm.where, said, f"{norm.text}  ~  {same[0].text}", same[0].where)


def _partly(code: Facts, serving: list[Norm], trained: list[tuple[str, Norm]]) -> Iterator[Finding]:
    """Serving that only changes the range of pixels, where training goes on with a mean and a std."""
    if code.role != "serve" or not serving or not all(comparing.is_rescale(n) for n in serving):
        return
    mine = next((n for n in serving if n.where.path == code.path), None)
    near = graph.nearest(code.path, [(p, n) for p, n in trained if comparing.is_full(n) or comparing.is_rescale(n)])
    if mine is None or not near or any(comparing.is_rescale(n) and not comparing.differs(n, mine) for n in near):
        return
    images = [n for n in near if comparing.width(n) in (1, 3) and n.by == "code"]
    if images and len(images) == len([n for n in near if n.by == "code"]):
        other = images[0]
        words = (
            "only changes the range of the pixels"
            if comparing.is_full(other)
            else "changes the range of the pixels otherwise"
        )
        yield SKEW.at(mine.where, f"{words}; {other.where} does more", f"{mine.text}  ~  {other.text}", other.where)


def _other_kind(mine: list[Norm], kinds: set[tuple[str, str]]) -> Iterator[Finding]:
    """A z-score by hand where training fits a min-max scaler, or the other way round."""
    fitted = {of for _, of in kinds}
    for norm in mine:
        roles = {v.role for _, v in norm.steps if isinstance(v, Ref) and not v.text.endswith(("_", "()"))}
        wrong = (
            "StandardScaler" if roles and roles <= {"min", "max"} and fitted == {"StandardScaler"}
            else "MinMaxScaler" if roles and roles <= {"mean", "std"} and fitted == {"MinMaxScaler"} else ""
        )  # fmt: skip
        if wrong and norm.by == "code":
            path = next(p for p, of in sorted(kinds) if of == wrong)
            yield SKEW.at(
                norm.where, f"scales by {' and '.join(sorted(roles))}, where {path} fits a {wrong}", norm.text
            )
