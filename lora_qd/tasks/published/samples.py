"""The samples of a published benchmark, dealt out to the splits."""

from collections.abc import Mapping, Sequence

from lora_qd.errors import InputError
from lora_qd.records import Sample, Split
from lora_qd.tasks.published.source import Shares
from lora_qd.tasks.task import bucket_of


class PublishedSamples:
    """Samples by split, in the order of their source."""

    def __init__(self, samples: Mapping[str, Sample], shares: Shares) -> None:
        """Deal ``samples``, by what an error calls their row, out to the splits.

        Raises:
            InputError: two rows have one id.
        """
        place_by_id: dict[str, str] = {}
        for place, sample in samples.items():
            first = place_by_id.setdefault(sample.id, place)
            if first != place:
                raise InputError(
                    f"{place}: expected an id of its own, but {sample.id!r} is that of "
                    f"{first} too; delete one of the two"
                )
        self.all: Sequence[Sample] = tuple(samples.values())
        self._shares = shares

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the samples of ``split``; its hash decides, by the shares."""
        return [s for s in self.all if split_by(s.id, self._shares) is split]


def split_by(sample: str, shares: Shares) -> Split:
    """Return the split of the sample with this id; ``TRAIN`` is what is left over."""
    bucket = bucket_of(sample) / 1000
    for split, share in (
        (Split.TEST, shares.test),
        (Split.VALIDATION, shares.validation),
        (Split.SEARCH, shares.search),
    ):
        if bucket < share - 1e-9:
            return split
        bucket -= share
    return Split.TRAIN
