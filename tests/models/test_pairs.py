"""Parts of pairs: lengths, beginnings, wrong sound; regions of the picture."""

from collections import Counter

import pytest
import torch

from models.paha.pairs import draw_parts, draw_wrong
from models.paha.regions import grown, region_mask


class Random:
    def __init__(self, count: int):
        self.count, self.stream = count, torch.Generator().manual_seed(0)

    def uniform(self):
        return torch.rand(self.count, generator=self.stream)


def of(*frames: int, times: int = 600):
    there = torch.tensor(frames * times)
    random = Random(len(there))
    return there, random, draw_parts(random, there, (10, 20, 40))


@pytest.mark.paper("PH-13")
def test_lengths_of_picture_and_sound_are_drawn_each_alike_of_those_that_a_clip_has():
    there, _, parts = of(40, 25, 7)
    for lengths in (parts.video, parts.audio):
        shares = [Counter(lengths[row::3].tolist()) for row in range(3)]
        assert set(shares[0]) == {10, 20, 40}
        assert all(0.25 < count / 600 < 0.42 for count in shares[0].values())
        assert set(shares[1]) == {10, 20}
        assert set(shares[2]) == {7}, "a shorter clip is taken whole"
    assert (parts.video != parts.audio).any(), "each its own"
    for count, at in ((parts.video, parts.video_at), (parts.audio, parts.audio_at)):
        assert (at >= 0).all()
        assert (at < there[:, None]).all()
        assert (at[:, 0] == parts.video_at[:, 0]).all(), "both begin together"
        for row in range(9):
            own = at[row, : count[row]]
            assert (own.diff() == 1).all()
            assert (at[row, count[row] :] == own[-1]).all()
    assert parts.video_at[::3, 0].unique().numel() > 3


def test_wrong_sound_is_anothers_or_shifted_by_what_was_asked():
    there, random, parts = of(100, 80)
    wrong = draw_wrong(random, there, parts, 10.0, (0.5, 2.0))
    rows = torch.arange(len(there))
    own = wrong.rows == rows
    assert 0.4 < own.float().mean() < 0.6
    shift = (wrong.audio_at[:, 0] - parts.audio_at[:, 0])[own]
    assert (shift.abs() >= 5).all()
    assert (shift.abs() <= 20).all()
    assert (shift > 0).any()
    assert (shift < 0).any()
    assert (wrong.rows[~own] == rows.roll(1)[~own]).all()
    last = wrong.audio_at.gather(1, wrong.audio[:, None] - 1)[:, 0]
    assert (last < there[wrong.rows]).all()
    assert (wrong.audio_at >= 0).all()
    assert wrong.there.all()


def test_alone_and_without_room_there_is_no_wrong_sound():
    there, random = torch.tensor([10]), Random(1)
    parts = draw_parts(random, there, (10,))
    assert not draw_wrong(random, there, parts, 25.0, (0.2, 2.0)).there.any()
    there, random = torch.tensor([30]), Random(1)
    parts = draw_parts(random, there, (10,))
    wrong = draw_wrong(random, there, parts, 25.0, (0.2, 0.3))
    assert wrong.there.all()
    assert wrong.rows.tolist() == [0]


@pytest.mark.paper("PH-12")
def test_the_regions_are_the_face_and_all_but_it():
    box = torch.tensor([[0.3, 0.0, 0.6, 0.5], [0.0, 0.5, 0.1, 1.0]])
    face, rest = (region_mask(box, 4, 5, region) for region in ("face", "nonface"))
    assert torch.equal(face + rest, torch.ones(2, 1, 1, 4, 5))
    assert face[0, 0, 0].tolist() == [[0, 1, 1, 0, 0]] * 2 + [[0] * 5] * 2, "every place that it touches"
    assert face[1, 0, 0].tolist() == [[0] * 5] * 2 + [[1, 0, 0, 0, 0]] * 2


def test_a_grown_box_stays_in_the_frame():
    torch.testing.assert_close(grown(torch.tensor([0.4, 0.1, 0.6, 0.9]), 0.5), torch.tensor([0.3, 0.0, 0.7, 1.0]))
