"""Face unlock on the trained networks and on photos of people, by its commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import face_bundles
import numpy as np
import pytest
from face_bundles import CALTECH, NUAA, convert, make_bundles
from simulated_session import be_a_gpu_machine

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")

from edgekit.apps import APPS  # noqa: E402
from edgekit.apps.face_unlock.faces import embed_face  # noqa: E402
from edgekit.apps.face_unlock.recognise import Limits, open_recogniser  # noqa: E402
from edgekit.cli.main import main  # noqa: E402
from edgekit.runtimes import RUNTIMES  # noqa: E402

needs_networks = pytest.mark.skipif(
    not face_bundles.are_there()
    or any(RUNTIMES[name].missing() for name in ("onnxruntime", "openvino", "litert")),
    reason=face_bundles.REASON,
)

ADA = [CALTECH / "p01" / f"image_{number:04}.jpg" for number in (1, 5, 9, 14)]
BOB = [CALTECH / "p02" / f"image_{number:04}.jpg" for number in (22, 27, 33)]
THRESHOLD = 0.55
PARITY_ATOL = 2e-3  # landmarks differ by 1e-3 pixels between runtimes, then pixels by a level


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_bundles(tmp_path_factory.mktemp("bundles"))


@dataclass(frozen=True)
class Answer:
    status: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(frozen=True)
class Desk:
    """The commands on one store."""

    bundles: dict[str, Path]
    store: Path
    capsys: pytest.CaptureFixture[str]

    def ask(self, action: str, *words: object) -> Answer:
        self.capsys.readouterr()
        status = main(["app", "face-unlock", action, *map(str, words)])
        said = self.capsys.readouterr()
        return Answer(status, said.out, said.err)

    def with_models(self, action: str, *words: object) -> Answer:
        return self.ask(action, *words, *self.models())

    def models(self) -> list[object]:
        names = ("detector", "embedder")
        chosen = [word for name in names for word in (f"--{name}", self.bundles[name])]
        return [*chosen, "--store", self.store, "--threads", 1]

    def enroll(self, name: str, *pictures: Path) -> Answer:
        return self.with_models("enroll", name, *images(*pictures))

    def check(self, *pictures: Path, words: tuple[object, ...] = ()) -> Answer:
        return self.with_models("check", *images(*pictures), *words, "--json")


def images(*pictures: Path) -> list[object]:
    return [word for picture in pictures for word in ("--image", picture)]


@pytest.fixture
def desk(bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(bundles, tmp_path / "people.json", capsys)


def save(path: Path, frame: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), frame)
    return path


def video(path: Path, pictures: list[Path], *, each: int) -> Path:
    first = cv2.imread(str(pictures[0]))
    size = (first.shape[1], first.shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, size)
    assert writer.isOpened()
    for picture in pictures:
        for _ in range(each):
            writer.write(cv2.resize(cv2.imread(str(picture)), size))
    writer.release()
    return path


@needs_networks
def test_an_enrolled_person_is_known_and_a_stranger_is_not(desk: Desk) -> None:
    assert desk.enroll("ada", *ADA[:2]).status == 0
    assert desk.enroll("bob", *BOB[:2]).status == 0

    known = desk.check(ADA[3], BOB[2])
    stranger = desk.check(CALTECH / "p05" / "image_0072.jpg")

    assert [item["known"] for item in known.data["images"]] == ["ada", "bob"]
    assert (known.status, stranger.status) == (0, 1)
    assert stranger.data["images"][0]["known"] is None
    assert stranger.data["images"][0]["cosine"] < THRESHOLD


@needs_networks
@pytest.mark.parametrize("device", ["onnxruntime", "openvino", "litert"])
def test_every_runtime_knows_the_same_person(desk: Desk, device: str) -> None:
    if RUNTIMES[device].missing():
        pytest.skip(f"{device} is not installed")
    desk.enroll("ada", *ADA[:2])

    (item,) = desk.check(ADA[3], words=("--device", device)).data["images"]

    (reference,) = desk.check(ADA[3], words=("--device", "onnxruntime")).data["images"]
    assert item["known"] == "ada"
    assert item["cosine"] == pytest.approx(reference["cosine"], abs=PARITY_ATOL)


@needs_networks
def test_people_enrolled_on_a_desktop_are_known_on_a_board(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.enroll("ada", *ADA[:2])
    steps = {"detector": "letterbox-topleft,bgr", "embedder": "none,rgb"}
    sources = {"detector": face_bundles.DETECTOR, "embedder": face_bundles.EMBEDDER}
    board = {
        name: convert(
            sources[name], tmp_path / f"{name}.edgekit", "-t", "tensorrt", "--preprocess", words
        )
        for name, words in steps.items()
    }
    be_a_gpu_machine(monkeypatch)  # an engine is its ONNX file, run by ONNX Runtime
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))

    (item,) = (
        Desk(board, desk.store, desk.capsys)
        .check(ADA[3], words=("--device", "tensorrt"))
        .data["images"]
    )

    assert item["known"] == "ada"


@dataclass(frozen=True)
class Unfit:
    id: str
    says: str

    def picture(self, folder: Path) -> Path:
        ada, bob = (cv2.imread(str(path)) for path in (ADA[0], BOB[0]))
        bob = cv2.resize(bob, (bob.shape[1] * ada.shape[0] // bob.shape[0], ada.shape[0]))
        frames = {
            "two": cv2.hconcat([ada, bob]),
            "none": np.full((300, 300, 3), 90, np.uint8),
            "small": cv2.resize(ada, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA),
            "blurred": cv2.GaussianBlur(ada, (0, 0), 6),
        }
        return save(folder / f"{self.id}.png", frames[self.id])


UNFIT = (
    Unfit("two", "2 faces; one alone is needed"),
    Unfit("none", "no face"),
    Unfit("small", "the face is too small"),
    Unfit("blurred", "the face is blurred"),
)


@needs_networks
@pytest.mark.parametrize("case", UNFIT, ids=lambda case: case.id)
def test_an_unfit_picture_is_not_enrolled_and_not_known(
    case: Unfit, desk: Desk, tmp_path: Path
) -> None:
    refused = desk.enroll("eve", ADA[0], case.picture(tmp_path))

    assert refused.status == 9
    assert "EK701" in refused.err
    assert case.says in refused.err
    assert not desk.store.exists()

    desk.enroll("ada", ADA[0])
    (item,) = desk.check(case.picture(tmp_path)).data["images"]
    assert item["known"] is None
    assert item["problem"].startswith(case.says)


@needs_networks
def test_a_passer_by_far_behind_does_not_lock_a_person_out(desk: Desk, tmp_path: Path) -> None:
    ada, bob = (cv2.imread(str(path)) for path in (ADA[3], BOB[0]))
    small = cv2.resize(bob, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    frame = cv2.copyMakeBorder(ada, 0, 0, 0, small.shape[1], cv2.BORDER_CONSTANT)
    frame[: small.shape[0], -small.shape[1] :] = small
    desk.enroll("ada", *ADA[:2])

    (item,) = desk.check(save(tmp_path / "behind.png", frame)).data["images"]

    assert (len(item["faces"]), item["known"]) == (2, "ada")


@needs_networks
def test_two_persons_are_not_enrolled_under_one_name(desk: Desk) -> None:
    refused = desk.enroll("eve", ADA[0], ADA[1], BOB[0])

    assert refused.status == 9
    assert f"{BOB[0].name} looks like no other picture of this name" in refused.err
    assert not desk.store.exists()

    desk.enroll("ada", *ADA[:2])
    added = desk.enroll("ada", BOB[0])
    assert added.status == 9
    assert "looks like no other picture of this name" in added.err


@needs_networks
def test_one_person_has_one_name(desk: Desk) -> None:
    desk.enroll("ada", *ADA[:2])

    refused = desk.enroll("bob", ADA[2])

    assert refused.status == 9
    assert "looks like ada, who is enrolled" in refused.err
    assert desk.enroll("ada", ADA[2]).status == 0


@needs_networks
def test_a_person_is_forgotten(desk: Desk) -> None:
    desk.enroll("ada", ADA[0])
    desk.enroll("bob", BOB[0])

    assert desk.ask("forget", "ada", "--store", desk.store).status == 0
    listed = desk.ask("people", "--store", desk.store, "--json")

    assert listed.data["people"] == {"bob": 1}
    assert desk.check(ADA[0]).data["images"][0]["known"] is None


@needs_networks
def test_a_store_of_another_embedder_is_refused(desk: Desk, tmp_path: Path) -> None:
    desk.enroll("ada", ADA[0])
    other = convert(
        face_bundles.EMBEDDER, tmp_path / "bgr.edgekit", "-t", "onnx", "--preprocess", "none,bgr"
    )

    elsewhere = Desk({**desk.bundles, "embedder": other}, desk.store, desk.capsys)
    refused = elsewhere.check(ADA[0])

    assert refused.status == 9
    assert refused.data["error"]["code"] == "EK702"
    assert "made with another embedder" in refused.data["error"]["message"]


@needs_networks
def test_what_was_seen_is_drawn(desk: Desk, tmp_path: Path) -> None:
    desk.enroll("ada", *ADA[:2])
    drawn = tmp_path / "drawn.png"

    (item,) = desk.check(ADA[3], words=("--output", drawn)).data["images"]

    picture, photo = cv2.imread(str(drawn)), cv2.imread(str(ADA[3]))
    left, top, right, bottom = (round(value) for value in item["faces"][0]["box_xyxy"])
    changed = (picture != photo).any(axis=-1)
    assert picture.shape == photo.shape
    assert changed[top : bottom + 1, left].all()  # the box's left edge
    assert changed[-5:].all()  # the line below
    assert not changed[top + 5 : top + 20, right + 5 :].any()  # beside the face


@needs_networks
def test_pictures_of_faces_look_less_alive_than_faces(bundles: dict[str, Path]) -> None:
    chosen = [f"{scale}={bundles[scale]}" for scale in ("2.7", "4.0")]
    chances: dict[str, list[float]] = {"live": [], "spoof": []}

    with open_recogniser(
        detector=bundles["detector"], embedder=bundles["embedder"], liveness=chosen, threads=1
    ) as recogniser:
        for kind, found in chances.items():
            for path in sorted((NUAA / kind).glob("*.jpg"))[::8]:
                view = recogniser.look(cv2.imread(str(path)))
                assert view.live is not None, view.problem
                found.append(view.live)

    assert len(chances["live"]) == len(chances["spoof"]) == 10
    assert max(chances["spoof"]) < 0.5 < min(chances["live"])


@needs_networks
def test_a_picture_of_an_enrolled_person_does_not_unlock(desk: Desk) -> None:
    live = sorted((NUAA / "live").glob("0007*.jpg"))
    spoof = sorted((NUAA / "spoof").glob("0007*.jpg"))
    chosen = (
        "--liveness",
        f"2.7={desk.bundles['2.7']}",
        "--liveness",
        f"4.0={desk.bundles['4.0']}",
    )
    assert desk.with_models("enroll", "gus", *images(live[1]), *chosen).status == 0

    real = desk.check(live[-1], words=chosen)
    fake = desk.check(spoof[0], words=chosen)

    assert real.data["images"][0]["known"] == "gus"
    assert fake.data["images"][0]["known"] is None
    assert "looks like a picture of a face" in fake.data["images"][0]["problem"]
    assert desk.with_models("enroll", "gus", *images(spoof[0]), *chosen).status == 9


@needs_networks
def test_a_liveness_model_needs_to_say_which_label_is_live(desk: Desk, tmp_path: Path) -> None:
    source = desk.bundles["2.7"].with_name("minifasnet-2.7.onnx")
    bare = convert(source, tmp_path / "bare.edgekit", "-t", "onnx", "--preprocess", "stretch,bgr")

    refused = desk.with_models("enroll", "ada", *images(ADA[0]), "--liveness", bare)

    assert refused.status == 2
    assert "one must be 'live'" in refused.err


@needs_networks
def test_a_video_of_the_person_unlocks_after_frames_that_agree(desk: Desk, tmp_path: Path) -> None:
    desk.enroll("ada", *ADA[:2])
    path = video(tmp_path / "ada.avi", [BOB[0], ADA[3]], each=4)

    answer = desk.with_models("run", "--video", path, "--json")

    *frames, end = [json.loads(line) for line in answer.out.splitlines()]
    events = [(frame["frame"], frame["event"]) for frame in frames if frame["event"]]
    assert events == [(7, "unlocked")]  # the third of ada's, which begin at the fifth
    assert [frame["known"] for frame in frames] == [None] * 4 + ["ada"] * 4
    assert (end["frames"], end["unlocks"]) == (8, 1)
    assert set(end["median_ms"]) == {"detect", "align", "embed"}


@needs_networks
@pytest.mark.parametrize(("who", "status"), [("ada", 0), ("bob", 1)])
def test_once_tells_by_its_exit_status_whether_somebody_has_unlocked(
    who: str, status: int, desk: Desk, tmp_path: Path
) -> None:
    desk.enroll("ada", *ADA[:2])
    path = video(tmp_path / "video.avi", [ADA[3] if who == "ada" else BOB[0]], each=5)

    answer = desk.with_models("run", "--video", path, "--once", "--no-window")

    assert answer.status == status
    assert ("unlocked for ada" in answer.out) == (status == 0)


@needs_networks
def test_a_person_is_enrolled_from_a_video(desk: Desk, tmp_path: Path) -> None:
    path = video(tmp_path / "ada.avi", ADA[:3], each=3)

    answer = desk.with_models("enroll", "ada", "--video", path, "--json")

    # Frames that show nothing new are left out: there are three pictures in nine frames.
    assert 1 <= answer.data["added"] <= 3
    assert desk.check(ADA[3]).data["images"][0]["known"] == "ada"


@needs_networks
def test_a_video_without_a_fit_frame_says_what_was_wrong(desk: Desk, tmp_path: Path) -> None:
    wall = save(tmp_path / "wall.png", np.full((300, 300, 3), 90, np.uint8))
    path = video(tmp_path / "wall.avi", [wall], each=4)

    refused = desk.with_models("enroll", "ada", "--video", path)

    assert refused.status == 9
    assert "no frame of wall.avi was fit: no face; nothing was stored" in refused.err


@needs_networks
@pytest.mark.parametrize("words", [(), ("--image", ADA[0], "--camera", 0)], ids=["nothing", "both"])
def test_enrolling_takes_pictures_or_a_camera(words: tuple[object, ...], desk: Desk) -> None:
    answer = desk.with_models("enroll", "ada", *words)

    assert answer.status == 2
    assert "give --image, or one of --camera, --csi and --video" in answer.err


@needs_networks
def test_the_figures_are_those_of_all_pairs(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    for person in ("p01", "p02", "p05"):
        (folder / person).mkdir(parents=True)
        for path in sorted((CALTECH / person).glob("*.jpg"))[:4]:
            (folder / person / path.name).symlink_to(path)
    save(folder / "p01" / "wall.png", np.full((300, 300, 3), 90, np.uint8))

    words = [str(word) for word in desk.models() if word not in ("--store", desk.store)]
    answer = desk.ask("evaluate", "--pairs", folder, *words, "--threshold", 0.8, "--json")

    vectors = []
    with open_recogniser(
        detector=desk.bundles["detector"], embedder=desk.bundles["embedder"], threads=1
    ) as recogniser:
        for path in sorted(folder.glob("*/*.jpg")):
            vectors.append((path.parent.name, recogniser.look(cv2.imread(str(path))).vector))
    pairs = [(a == b, float(v @ w)) for (a, v), (b, w) in combinations(vectors, 2)]
    same = [cosine for is_same, cosine in pairs if is_same]
    found = answer.data["pairs"]
    assert (found["pictures"], found["people"], found["refused"]) == (13, 3, {"no face": 1})
    assert found["pairs"] == {"same": 18, "different": 48}
    assert found["at"]["false_reject_rate"] == pytest.approx(np.mean(np.array(same) < 0.8))
    assert found["at"]["false_accept_rate"] == 0
    assert found["equal_error_rate"] == 0  # three persons who look nothing like one another


@needs_networks
def test_aligned_faces_are_what_the_embedder_is_measured_on(desk: Desk, tmp_path: Path) -> None:
    folder, aligned = tmp_path / "people", tmp_path / "aligned"
    for person in ("p01", "p02"):
        (folder / person).mkdir(parents=True)
        for path in sorted((CALTECH / person).glob("*.jpg"))[:3]:
            (folder / person / path.name).symlink_to(path)
    save(folder / "p01" / "wall.png", np.full((300, 300, 3), 90, np.uint8))
    words = [str(word) for word in desk.models() if word not in ("--store", desk.store)]

    answer = desk.ask("align", "--pairs", folder, "--output", aligned, *words, "--json")

    assert (answer.data["written"], answer.data["refused"]) == (6, {"no face": 1})
    with open_recogniser(
        detector=desk.bundles["detector"], embedder=desk.bundles["embedder"], threads=1
    ) as recogniser:
        for path in sorted(folder.glob("*/*.jpg")):
            crop = cv2.imread(str(aligned / path.parent.name / f"{path.name}.png"))
            vector = recogniser.look(cv2.imread(str(path))).vector
            assert np.array_equal(embed_face(recogniser.embedder, crop), vector)
    again = desk.ask("align", "--pairs", folder, "--output", aligned, *words)
    assert again.status == 2
    assert "not empty" in again.err


@needs_networks
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals are sent as on Linux")
def test_ctrl_c_ends_a_watch_cleanly(desk: Desk, tmp_path: Path) -> None:
    desk.enroll("ada", ADA[0])
    path = video(tmp_path / "long.avi", [ADA[3]], each=3000)
    words = ["app", "face-unlock", "run", "--video", path, "--json", *desk.models()]

    with subprocess.Popen(
        [sys.executable, "-m", "edgekit", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        first = json.loads(child.stdout.readline())
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate(timeout=60)

    assert first["frame"] == 1
    assert json.loads(rest.splitlines()[-1])["event"] == "end"
    assert (child.returncode, errors.strip()) == (0, "stopped")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("face-unlok",), "did you mean 'face-unlock'?"),
        (("face-unlock", "enrol"), "did you mean 'enroll'?"),
        (("face-unlock", "people", "--store", "x", "--jsom"), "did you mean --json?"),
        (("face-unlock", "people"), "--store"),
    ],
    ids=["app", "action", "option", "missing"],
)
def test_a_mistyped_word_gets_the_closest(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["app", *words]) == 2
    assert says in capsys.readouterr().err


def test_the_apps_and_their_actions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["app", "--json"])
    assert list(json.loads(capsys.readouterr().out)["apps"]) == list(APPS)

    for name, entry in APPS.items():
        main(["app", name, "--help"])
        said = capsys.readouterr().out
        for action in entry.load().actions:
            assert action in said
            with pytest.raises(SystemExit):
                main(["app", name, action, "--help"])


def test_the_page_tells_every_action_and_the_defaults() -> None:
    page = (face_bundles.ROOT / "docs" / "face_unlock.md").read_text(encoding="utf-8")

    for action in APPS["face-unlock"].load().actions:
        assert f"`{action}" in page
    limits = Limits()
    for words in (f"default, {limits.threshold}", f"{limits.eyes:.0f} pixels between the eyes"):
        assert words in page


def test_listing_the_apps_loads_no_heavy_library() -> None:
    script = (
        "import sys; from edgekit.cli.main import main; main(['app']);"
        "print([name for name in ('numpy', 'cv2', 'onnx') if name in sys.modules])"
    )

    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert result.stdout.splitlines()[-1] == "[]"
