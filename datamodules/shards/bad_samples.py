"""Damaged samples: counted by reason, named once, and too many of them an error."""

from collections import Counter

from settings.log import get_logger

logger = get_logger(__name__)

_EXAMPLES = 3


class TooManyBadSamples(RuntimeError):
    """More samples are damaged than a run may skip; the message gives reasons and examples."""


class BadSamples:
    """What was skipped so far in this process.

    Args:
        limit: share of the samples read that may be damaged.
        minimum: number of damaged samples below which the share does not matter.
    """

    def __init__(self, limit: float = 0.01, minimum: int = 20):
        self._limit, self._minimum = limit, minimum
        self.reasons: dict[str, str] = {}

    @property
    def counts(self) -> Counter[str]:
        """Damaged samples by reason."""
        return Counter(self.reasons.values())

    def __len__(self) -> int:
        return len(self.reasons)

    def add(self, clip_id: str, reason: str) -> bool:
        """Count a sample, once, and name it in the log; whether it was new."""
        if clip_id in self.reasons:
            return False
        self.reasons[clip_id] = reason
        logger.warning("skipped sample %s: %s (%d so far)", clip_id, reason, len(self))
        return True

    def check(self, read: int) -> None:
        """Raise TooManyBadSamples if too many of the samples read are damaged."""
        if len(self) >= self._minimum and len(self) > self._limit * read:
            raise TooManyBadSamples(self.describe(read))

    def describe(self, read: int) -> str:
        """What happened and what to do, with examples of each reason."""
        lines = []
        for reason, count in self.counts.most_common():
            named = [clip_id for clip_id, why in self.reasons.items() if why == reason][:_EXAMPLES]
            lines.append(f"{count} x {reason} ({', '.join(named)}{', ...' if count > len(named) else ''})")
        return (
            f"{len(self)} of {read} samples read are damaged, more than bad_sample_limit={self._limit:g}: "
            f"{'; '.join(lines)}. Run `python -m preprocessing.verify SHARDS` to see all, make the shards again, "
            "or raise data.bad_sample_limit"
        )
