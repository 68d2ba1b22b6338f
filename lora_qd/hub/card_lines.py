"""The sentences of a model card, from what a run recorded."""

from collections.abc import Mapping
from dataclasses import dataclass

from lora_qd.evaluation import Interval
from lora_qd.hub.card_metadata import training_sets
from lora_qd.hub.identity import Base
from lora_qd.hub.licences import Terms
from lora_qd.hub.names import code, escaped, listing
from lora_qd.runs.config import RunConfig
from lora_qd.runs.finals import AGGREGATE, BALANCED
from lora_qd.runs.results import Results, Row
from lora_qd.runs.run import Run
from lora_qd.store.ledger import ChildRow
from lora_qd.variation import MutationForm, SelectionForm
from lora_qd.variation.crossover import Granularity

_MUTATIONS: Mapping[MutationForm, str] = {
    MutationForm.MULTIPLY: "every singular value times a draw from [0, {w:g}]",
    MutationForm.RELATIVE: "every singular value times 1 plus a draw from "
    "[-{w:g}, {w:g}]",
    MutationForm.EXPERT: "the current skill's expert added, every singular value times "
    "a draw from [0, {w:g}]",
    MutationForm.LOGNORMAL: "every singular value times exp of a normal draw, "
    "sigma {w:g}",
    MutationForm.MASK: "every singular component dropped with probability {w:g}",
    MutationForm.ROTATE: "singular vectors turned by about {w:g} radians",
    MutationForm.GAUSSIAN: "Gaussian noise of {w:g} times the norm",
    MutationForm.NONE: "none",
}
_SELECTIONS: Mapping[SelectionForm, str] = {
    SelectionForm.PAPER: "by their scores on all skills",
    SelectionForm.RELEASED: "by their scores, as CycleQD's released code weighs them",
    SelectionForm.UNIFORM: "all alike",
}


_GRANULARITIES: Mapping[Granularity, str] = {
    Granularity.MODEL: "the whole model",
    Granularity.MODULE: "each module",
}


@dataclass(frozen=True, slots=True)
class AdapterLine:
    """A line of the table of adapters, as Markdown."""

    folder: str
    name: str
    text: str


def findings(results: Results) -> list[str]:
    """Return what the table says of the aggregate, in a sentence or none."""
    rows = {row.name: row for row in results.rows}
    own = rows.get(AGGREGATE)
    if own is None:
        return []
    experts = [row for name, row in rows.items() if name.startswith("expert ")]
    merges = [row for name, row in rows.items() if name.startswith("best static ")]
    others = {
        "the base": [rows["base"]] if "base" in rows else [],
        "the best single expert": experts,
        "the best static merge": merges,
    }
    compared = [
        _compared(own.mean, max(some, key=lambda row: row.mean.mean).mean, name)
        for name, some in others.items()
        if some
    ]
    return [
        f"On the test split the aggregate's mean score over the skills is {own.mean}: "
        f"{listing(compared)}."
    ]


def _compared(own: Interval, other: Interval, name: str) -> str:
    gap = own.mean - other.mean
    if f"{abs(gap):.2f}" == "0.00":
        return f"level with {name} ({other.mean:.2f})"
    word = "above" if gap > 0 else "below"
    is_clear = own.low > other.high or own.high < other.low
    doubt = "" if is_clear else ", their intervals overlap"
    return f"{abs(gap):.2f} {word} {name} ({other.mean:.2f}{doubt})"


def adapter_lines(
    run: Run, results: Results, folders: Mapping[str, str]
) -> list[AdapterLine]:
    """Return the table of adapters, the root first."""
    tested = {row.member: row for row in results.rows}
    lines = []
    for name, folder in sorted(folders.items(), key=lambda item: item[1] != ""):
        member = results.members[name]
        lines.append(
            AdapterLine(
                folder=f"`{folder}/`" if folder else "(root)",
                name=escaped(name),
                text=_about(name, _child(run, member), tested.get(member)),
            )
        )
    return lines


def _child(run: Run, member: str) -> ChildRow | None:
    return next((row for row in run.children if row.member == member), None)


def _about(name: str, child: ChildRow | None, tested: Row | None) -> str:
    """Return what a served adapter is, and where its scores are."""
    where = (
        f"the line *{escaped(tested.name)}* of the results"
        if tested
        else "not scored on the test split"
    )
    if name == AGGREGATE:
        return f"the weighted sum of the skills' best; {where}"
    if name == BALANCED:
        kind = "bred member" if child and child.parents else "static merge"
        return f"the best {kind} by mean score on the validation split; {where}"
    score = child.scores[name] if child and name in child.scores else None
    found = f", {score:.2f}" if score is not None else ""
    return f"the best on {escaped(name)} in the search (search split{found}); {where}"


def recipe(config: RunConfig, base: Base) -> list[str]:
    """Return how the search went about it, one sentence a line."""
    search = config.search
    gains = listing([f"{gain:g}" for gain in config.merge_gains])
    merges = f", and their sum times {gains}" if search.seed_merges else ""
    weights = f"drawn around 1 (sigma {search.crossover_sigma:g}) once"
    mutation = _MUTATIONS[search.mutation].format(w=search.w_max)
    lines = [
        f"Base: {base.model}, {_version(base)}.",
        f"Seeds: {len(config.skills)} experts, one for each skill{merges}.",
        *_training(config),
        f"Search: {search.children:,} children in batches of {search.batch}, seed "
        f"{config.seed}; archives of {search.cells} cells an axis. The skills take "
        "turns: in its turn a skill's archive gives the parents.",
        f"Selection: {search.parents} elites for each child, "
        f"{_SELECTIONS[search.selection]}.",
        f"Crossover: {search.crossover}, with weights {weights} for "
        f"{_GRANULARITIES[search.granularity]}.",
        f"Mutation: {mutation}.",
    ]
    genes = {
        "gain, the length of the whole update": search.gain_sigma,
        "tilt, an exponent on singular values": search.tilt_sigma,
    }
    drawn = [f"{gene} (sigma {sigma:g})" for gene, sigma in genes.items() if sigma]
    if drawn:
        lines.append(f"Genes of each child besides: {listing(drawn)}.")
    return [*lines, f"Scores: {_samples(config)}."]


def _version(base: Base) -> str:
    """Return which of the base's versions it was, as far as that was recorded."""
    kind, colon, commit = base.hash.partition(":")
    if colon:
        return f"commit {code(commit[:12])}"
    return f"its files with the hash {code(kind[:12])}"


def _training(config: RunConfig) -> list[str]:
    """Return what the experts learnt from, as far as others can look at it."""
    parts = [
        f"{escaped(expert)} from {_link(dataset)}"
        for expert, dataset in training_sets(config).items()
    ]
    return [f"Training data: {listing(parts)}."] if parts else []


def _link(dataset: str) -> str:
    return f"[{escaped(dataset)}](https://huggingface.co/datasets/{dataset})"


def _samples(config: RunConfig) -> str:
    """Return how many samples members were chosen by."""
    search, validation = (
        f"{num if num else 'all'} {split} samples of each skill"
        for split, num in (
            ("search", config.samples.search),
            ("validation", config.samples.validation),
        )
    )
    return (
        f"{search} for every child, {validation} to choose the best merge, the best "
        "bred member and the weights of the aggregate"
    )


def limits(config: RunConfig, results: Results) -> list[str]:
    """Return what the scores do not say, one sentence a line."""
    engine = config.engine
    samples = [f"{n:,} of {escaped(s)}" for s, n in results.num_samples.items()]
    measured = listing([escaped(skill) for skill in config.all_skills])
    served = (
        "not quantised"
        if engine.quantization == "none"
        else f"quantised as {engine.quantization}"
    )
    dropped = next(
        (row.dropped_energy for row in results.rows if row.name == AGGREGATE), 0.0
    )
    lines = [
        f"One run with one seed ({config.seed}): another seed ends with other members "
        "and other scores.",
        f"Test samples: {listing(samples)}. A difference that lies within the "
        "intervals is none that was shown.",
        f"The scores hold for a base that is {served}, in {engine.dtype}, and prompts "
        f"and answers of {engine.max_model_len:,} tokens together at most; nothing "
        "else was measured.",
        f"Only {measured} {'was' if len(config.all_skills) == 1 else 'were'} measured: "
        "not safety, not bias, not other languages or subjects.",
    ]
    if dropped >= 0.0005:
        lines.append(
            f"The aggregate is truncated to rank {engine.serve_rank}, which drops "
            f"{dropped:.1%} of its squared norm; `run/` holds it whole."
        )
    return [
        *lines,
        "Answers can be wrong. Code, SQL or commands that a model writes belong in a "
        "sandbox.",
    ]


def licence_text(base: str, terms: Terms) -> str:
    """Return under what the adapters are shared, and on whose word."""
    licence = terms.licence
    if licence is None:
        return (
            f"Nothing says under which licence {base} is published, so none is claimed "
            "for these adapters: ask its owner before you use them."
        )
    name = (
        f"[{licence.name}]({licence.link})" if licence.link else escaped(licence.name)
    )
    text = f"The licence of the base model is the {name}, as {terms.source}; these "
    text += "adapters change that model and are shared under the same terms."
    if terms.files:
        copies = listing([f"[{each}]({each})" for each in sorted(terms.files)])
        text += f" See {copies}."
    if licence.notice:
        text += f"\n\n> {licence.notice}"
    if licence.policy:
        text += f"\n\nIts use policy applies to these adapters, too: <{licence.policy}>"
    return text
