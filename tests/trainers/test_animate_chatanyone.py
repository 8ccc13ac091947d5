"""ChatAnyone: a picture that speaks, or moves as somebody in a video does, by saved networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from datamodules.media.files import MediaError, read_frames, read_metadata, write_video
from models.chatanyone.body_motion import BodyMotion
from models.chatanyone.face_motion import FaceMotion
from models.chatanyone.face_refine import FaceRefiner
from models.chatanyone.head import HeadTemplate
from models.chatanyone.portrait import Networks, Portrait, perform
from models.chatanyone.puppet import Frames, Puppet, relative
from models.chatanyone.renderer import Renderer
from models.human.keypoints import BODY, FACE, HANDS
from settings import ConfigError
from settings.hashes import file_hash
from tests.heads import coefficients, template
from tests.portraits import HEIGHT, WIDTH, body_statistics, networks
from tests.trainers.sounds import write_voice
from tests.trainers.test_animate_pictures import drawing
from trainers.animate import animate, main
from trainers.animation.files import write_poses
from trainers.animation.request import listen
from trainers.chatanyone.people import read_person

TALL, WIDE = 96, 128  # the picture: wider than the renderer's frames


def poses(count: int, seed: int = 0, size: tuple[int, int] = (TALL, WIDE)) -> np.ndarray:
    """(T, 134, 3) of somebody who talks, in the middle of a picture, hands below."""
    expression, pose, identity = coefficients(count, seed)
    pose[:, 3] += size[1] / size[0] / 2 - 0.5
    face = template().landmarks(expression, pose, identity.expand(count, -1))[..., :2]
    output = np.full((count, 134, 3), [0.5, 0.8, 1.0], np.float32)
    output[:, FACE, :2] = (face / torch.tensor([size[1] / size[0], 1.0])).numpy()
    output[:, BODY, 1] = np.linspace(0.5, 0.9, BODY.stop - BODY.start)
    output[:, HANDS, :2] = 0.5 + 0.1 * np.random.default_rng(seed).uniform(-1, 1, (42, 2))
    return output


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Run folders of all networks, a picture with its pose, speech, and a driving video with its poses."""
    folder = tmp_path_factory.mktemp("cast")
    made = networks()
    template().save_pretrained(folder / "head")
    sha256 = file_hash(folder / "head" / "model.safetensors")
    stages: dict[str, tuple[torch.nn.Module, dict[str, str]]] = {
        "renderer": (made.renderer, {"template": str(folder / "head")}),
        "face_refine": (made.refiner, {"renderer": str(folder / "renderer")}),
        "face_motion": (made.face, {"template": str(folder / "head")}),
        "body_motion": (made.body, {"renderer": str(folder / "renderer")}),
    }
    made.renderer.set_template(sha256)
    made.refiner.set_template(sha256)
    made.face.space.template.copy_(made.renderer.template)
    for name, (network, given) in stages.items():
        if name == "body_motion":
            made.body.set_statistics(body_statistics(file_hash(folder / "renderer" / "export" / "model.safetensors")))
        network.save_pretrained(folder / name / "export")
        stage = {"name": f"chatanyone.{name}", **given}
        (folder / name / "config.yaml").write_text(yaml.safe_dump({"stage": stage}))
    Image.fromarray(drawing(WIDE, TALL)).save(folder / "me.png")
    write_poses(folder / "me.npz", poses(1), (TALL, WIDE), 25.0)
    write_voice(folder / "speech.wav")
    frames = (np.roll(drawing(WIDE, TALL), 2 * i, 1) for i in range(20))
    sound = 0.3 * np.sin(np.arange(12_800) * 0.1).astype(np.float32)
    write_video(folder / "driving.mp4", frames, 25.0, audio=sound, sample_rate=16_000)
    write_poses(folder / "driving.npz", poses(20, 4), (TALL, WIDE), 25.0)
    return folder


def loaded(world: Path, refined: bool = True) -> Networks:
    def get(kind: type, name: str):
        return kind.from_pretrained(world / name).eval()

    refiner = get(FaceRefiner, "face_refine") if refined else None
    return Networks(
        HeadTemplate.from_pretrained(world / "head"), get(FaceMotion, "face_motion"), get(BodyMotion, "body_motion"),
        get(Renderer, "renderer"), refiner,
    )  # fmt: skip


def given(world: Path, **more) -> dict:
    return {
        "run": str(world / "body_motion"), "image": world / "me.png", "pose": world / "me.npz",
        "audio": world / "speech.wav", "face": str(world / "face_motion"), **more,
    }  # fmt: skip


@pytest.mark.paper("CA-7", "CA-15")
def test_a_picture_speaks(world, tmp_path):
    made = animate(out=tmp_path / "out.mp4", refine=str(world / "face_refine"), seed=3, steps=2, **given(world))
    assert (made.frames, made.fps) == (50, 25.0)
    shown = np.stack(list(read_frames(made.video)))
    assert shown.shape == (50, HEIGHT, WIDTH, 3)
    # The same frames from the networks themselves.
    cast = loaded(world)
    person = read_person(world / "me.png", world / "me.npz", cast.template, cast.renderer)
    portrait = Portrait(cast, person, seed=3, steps=2)
    speech = torch.from_numpy(listen(world / "speech.wav"))
    by_hand = torch.cat([portrait.pictures(frames) for frames in perform(portrait, speech)]).numpy()
    assert np.abs(by_hand.astype(int) - shown).mean() < 12  # compressed
    metadata = read_metadata(made.video)
    assert set(metadata["settings"]["networks"]) == {"renderer", "refine", "face", "template"}
    assert metadata["ai_generated"]
    plain = animate(out=tmp_path / "plain.mp4", size=96, seed=3, steps=2, **given(world))
    other = np.stack(list(read_frames(plain.video)))
    assert other.shape[1:] == (96, 64, 3)
    assert "refine" not in plain.metadata["settings"]["networks"]


def test_the_picture_is_cut_to_the_renderers_shape_and_its_head_fitted_in_it(world):
    cast = loaded(world)
    person = read_person(world / "me.png", world / "me.npz", cast.template, cast.renderer)
    assert person.image.shape == (3, HEIGHT, WIDTH)
    expression, pose, _ = coefficients(1)
    torch.testing.assert_close(person.pose[3], torch.tensor(WIDTH / HEIGHT / 2), atol=0.05, rtol=0)  # the middle
    torch.testing.assert_close(person.pose[4:5], pose[0, 4:5], atol=0.02, rtol=0)
    torch.testing.assert_close(person.expression[:2], expression[0, :2], atol=0.3, rtol=0)
    inside = person.hands[..., :2]
    assert ((inside > 0.1) & (inside < 0.9)).all()


def test_dials_and_a_style_reach_the_face(world, tmp_path):
    cast = loaded(world)
    louder = animate(out=tmp_path / "a.mp4", steps=2, expression_range=3.0, **given(world))
    styled = animate(out=tmp_path / "b.mp4", steps=2, reference=world / "driving.npz", **given(world))
    plain = animate(out=tmp_path / "c.mp4", steps=2, **given(world))
    assert louder.metadata["settings"]["expression_range"] == 3.0
    assert "reference" in styled.metadata["inputs_sha256"]
    one, two, three = (np.stack(list(read_frames(each.video))).astype(int) for each in (louder, styled, plain))
    assert np.abs(one - three).max() > 3
    assert np.abs(two - three).max() > 3
    assert cast.face.reference


@pytest.mark.paper("CA-9")
def test_a_picture_moves_as_somebody_in_a_video(world, tmp_path):
    words = {
        "run": str(world / "renderer"), "image": world / "me.png", "pose": world / "me.npz",
        "driving": world / "driving.mp4", "driving_pose": world / "driving.npz",
    }  # fmt: skip
    made = animate(out=tmp_path / "out.mp4", refine=str(world / "face_refine"), batch=6, **words)
    assert made.frames == 20
    same = animate(out=tmp_path / "same.mp4", **{**words, "relative": True})
    one, two = (np.stack(list(read_frames(each.video))).astype(int) for each in (made, same))
    assert one.shape == (20, HEIGHT, WIDTH, 3)
    assert np.abs(one - two).max() > 3
    assert set(made.metadata["inputs_sha256"]) == {"image", "pose", "driving", "driving_pose"}


@pytest.mark.paper("CA-9")
def test_departures_of_another_person_begin_at_the_picture(world):
    cast = loaded(world, refined=False)
    person = read_person(world / "me.png", world / "me.npz", cast.template, cast.renderer)
    heads = Portrait(cast, person).heads[0]
    puppet = Puppet(cast.renderer, None, person.image, heads)
    source = puppet.source.motion
    still = type(source)(*(part[:, None] for part in source))
    other = Frames(1.5 * puppet.heads[:, None] + 0.2, still, person.hands[None, None])
    back = relative(other, other, puppet)
    torch.testing.assert_close(back.heads, puppet.heads[:, None])
    for one, two in zip(back.move, still, strict=True):
        torch.testing.assert_close(one, two)
    # Half as large a head moves half as far.
    moved = Frames(other.heads + 0.3, still, other.hands)
    torch.testing.assert_close(relative(moved, other, puppet).heads, puppet.heads[:, None] + 0.2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"face": None}, r"give face=RUN of chatanyone.face_motion"),
        ({"face": "{world}/renderer"}, r"is a network of chatanyone.renderer; one of chatanyone.face_motion is needed"),
        ({"audio": None}, r"give audio=FILE"),
        ({"image": None}, r"give image=PICTURE"),
        ({"renderer": "{world}/other"}, r"is another network than the one whose features body_motion was trained on"),
        ({"template": "{world}/another"}, r"is another head template than the network of face was trained with"),
        ({"speech": "some/model"}, r"hears sound itself; leave it out"),
        ({"fps": 30.0}, r"trained at 25 frames a second"),
    ],
)
def test_what_does_not_go_together_is_said(world, tmp_path, change, said):
    if not (world / "other").exists():
        Renderer(**{**networks().renderer._hub_mixin_config}).save_pretrained(world / "other" / "export")
        (world / "other" / "config.yaml").write_text(yaml.safe_dump({"stage": {"name": "chatanyone.renderer"}}))
        wrong = template()
        wrong.mean += 0.01
        wrong.save_pretrained(world / "another")
    options = {name: value.format(world=world) if isinstance(value, str) else value for name, value in change.items()}
    with pytest.raises(ConfigError, match=said):
        animate(out=tmp_path / "out.mp4", **{**given(world), **options})


def test_a_renderer_alone_wants_a_video(world, tmp_path):
    with pytest.raises(ConfigError, match=r"knows nothing of speech: give driving=VIDEO"):
        animate(run=str(world / "renderer"), image=world / "me.png", pose=world / "me.npz", out=tmp_path / "out.mp4")
    words = ["--run", str(world / "renderer"), "--image", str(world / "me.png"), "--out", str(tmp_path / "o.mp4")]
    assert main(words) == 2
    with pytest.raises(ConfigError, match=r"'face'.*means nothing to a network of chatanyone.renderer"):
        animate(run=str(world / "renderer"), image=world / "me.png", face="x", out=tmp_path / "out.mp4")


def test_no_head_from_the_front_is_named(world, tmp_path):
    away = poses(1)
    away[:, FACE.start : FACE.start + 30, 2] = 0
    write_poses(tmp_path / "away.npz", away, (TALL, WIDE), 25.0)
    with pytest.raises(MediaError, match=r"me.png: no head: .*has to be seen from the front"):
        animate(out=tmp_path / "out.mp4", **given(world, pose=tmp_path / "away.npz"))
