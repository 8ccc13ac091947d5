"""Several trainings one after the other in the same processes, which saves starting them.

`python -m tests.e2e.several FILE` takes a JSON list of lists of words of the training command. Runs get no report: its
pictures take longer than some of the trainings, and tests of reports have their own. Stages that only some trainings
have are imported by those.
"""

import json
import os
import sys
from pathlib import Path
from unittest import mock

from tests.e2e.strategies import PAHA, VERSA, VIDEO
from tests.trainers import toy
from trainers.fit import main
from trainers.stages import STAGES

toy.register()
STAGES.add("watched_tokenizer", "tests.e2e.codebooks:WatchedTokenizer")
STAGES.add("counted", "tests.e2e.counted:CountedSMGA")
STAGES.add("counted_gan", "tests.e2e.counted:CountedGAN")
STAGES.add(VIDEO["video_pose"], "tests.e2e.counted_videos:CountedVideoPose")
STAGES.add(VIDEO["video_audio"], "tests.e2e.counted_videos:CountedVideoAudio")
STAGES.add(VERSA["pose_video"], "tests.e2e.counted_videos:CountedPoseVideo")
STAGES.add(VERSA["audio_video"], "tests.e2e.counted_videos:CountedAudioVideo")
STAGES.add(PAHA["univdm"], "tests.e2e.counted_videos:CountedUniVDM")
STAGES.add(PAHA["pce_face"], "tests.e2e.counted_videos:CountedPCE")

if __name__ == "__main__":
    with mock.patch("trainers.report.write_report"):
        for words in json.loads(Path(sys.argv[1]).read_text()):
            os.environ.pop("COSPEECH_RUN_FOLDER", None)
            if main(words):
                sys.exit(f"failed: {words}")
